//! `studio-webhooks migrate`

use std::process::ExitCode;

use crate::commands::{parts, trail};
use crate::config::Settings;

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    parts::serve("migrate", s, |_| async move {
        // Without the keys: it reads nothing that is encrypted.
        let applied = store::migrate(&s.database, &trail::act()).await.map_err(parts::explain)?;
        match applied {
            0 => println!("The database is up to date."),
            1 => println!("Applied 1 migration."),
            n => println!("Applied {n} migrations."),
        }
        Ok(())
    })
}
