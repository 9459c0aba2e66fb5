//! `studio-webhooks secrets`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use store::{Action, Deed, ObjectKind, Rekeyed, Store};

use crate::commands::{parts, trail};
use crate::config::{Settings, env_key};

/// See and change the keys that secrets are encrypted with.
///
/// To change the key: put a new one before the old one in secrets.keys (STUDIO__SECRETS__KEYS),
/// restart every service, run `studio-webhooks secrets rekey`, and remove the old one once
/// `studio-webhooks secrets list` shows that it encrypts nothing.
#[derive(Args)]
pub(crate) struct Secrets {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show how many values each key encrypts, and how many of them an earlier release
    /// encrypted, which did not bind them to their owner.
    List,
    /// Encrypt everything with the first key, bound to its owner. Services may go on running.
    Rekey,
}

impl Secrets {
    pub(crate) fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let s = &settings;
        let mut complete = true;
        let ran = parts::serve("secrets", s, |_| async {
            let store = trail::store(s).await?;
            complete = match self.command {
                Command::List => list(&store).await.map(|()| true),
                Command::Rekey => rekey(&store).await,
            }
            .map_err(parts::explain)?;
            store.close().await;
            Ok(())
        })?;
        Ok(if complete { ran } else { ExitCode::from(1) })
    }
}

async fn list(store: &Store) -> Result<(), store::StoreError> {
    let found = store.sealed_by_key().await?;
    store.note(&Deed::of(Action::SecretsList, ObjectKind::Installation, "secrets")).await?;
    let width = found.keys().map(String::len).max().unwrap_or(0).max("key".len());
    let (values, answers, unbound) = ("webhook values", "stored answers", "not bound");
    println!("{:width$}  {values:>14}  {answers:>14}  {unbound:>9}", "key");
    for (id, sealed) in found {
        let store::Sealed { webhook_values, answers, unbound } = sealed;
        println!("{id:width$}  {webhook_values:>14}  {answers:>14}  {unbound:>9}");
    }
    Ok(())
}

async fn rekey(store: &Store) -> Result<bool, store::StoreError> {
    let deed = || Deed::of(Action::SecretsRekey, ObjectKind::Installation, "secrets");
    // Before the first value, too: what is broken off is in the trail.
    store.note(&deed().outcome("begun")).await?;
    let Rekeyed { webhooks, answers, unopened } = store.rekey().await?;
    let unopened_rows = unopened.as_ref().map_or(0, |(count, _)| *count);
    let came_to =
        format!("{webhooks} webhooks, {answers} stored answers, {unopened_rows} not opened");
    store.note(&deed().outcome(&came_to)).await?;
    println!("Encrypted anew: {webhooks} webhooks, {answers} stored answers.");
    let Some((count, reason)) = unopened else {
        return Ok(true);
    };
    eprintln!(
        "{}: {count} rows cannot be opened and stay as they are: {reason}",
        env_key("secrets.keys")
    );
    Ok(false)
}
