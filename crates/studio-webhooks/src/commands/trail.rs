//! What commands note of themselves in the audit trail.

use anyhow::anyhow;
use store::{Act, Deed, Store};

use crate::commands::parts;
use crate::config::Settings;

/// Who runs the command: the system's user.
pub(crate) fn act() -> Act {
    Act::command(rustix::process::getuid().as_raw())
}

/// The store, whose changes are noted as those of the operator who runs the command.
pub(crate) async fn store(settings: &Settings) -> anyhow::Result<Store> {
    Ok(parts::store(settings).await?.acting(act()))
}

/// Notes what a command does that needs no database. Where there is none, or it is away, the
/// operator is told and the command goes on: it may be what brings it back.
pub(crate) async fn note(settings: &Settings, deed: &Deed<'_>) {
    let noted = if Store::is_there(&settings.database) {
        store::note_outside(&settings.database, &act(), deed).await.map_err(parts::explain)
    } else {
        Err(anyhow!("the database file does not exist yet"))
    };
    if let Err(error) = noted {
        eprintln!("warning: this is not noted in the audit trail: {error:#}");
    }
}
