//! `studio-webhooks erase`

use std::process::ExitCode;
use std::time::Duration;

use broker::ControlMessage;
use clap::Args;
use domain::UserId;
use domain::setting::format_duration;

use crate::commands::{parts, trail};
use crate::config::Settings;
use crate::operator::rejected::Which;
use crate::operator::{Access, Answer, Ask};

/// Erase everything that is kept of a user.
///
/// Webhooks with their secrets, delivery logs, bodies of events and of answers, notices, jobs,
/// stored answers of idempotency keys, and the user's messages in studio.rejected. Says what stays
/// in the broker, and for how long.
#[derive(Args)]
pub(crate) struct Erase {
    /// Whose.
    #[arg(long)]
    user: UserId,
    /// Really erase; without it nothing is done.
    #[arg(long)]
    yes: bool,
}

impl Erase {
    pub(crate) fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        let s = &settings;
        parts::command("erase", s, async {
            let user = &self.user;
            if !self.yes {
                println!("Nothing was erased: give --yes to erase everything of {user}.");
                return Ok(ExitCode::FAILURE);
            }
            let store = trail::store(s).await?;
            store.check_schema().await.map_err(parts::explain)?;
            let erased = store.erase_user(user).await.map_err(parts::explain)?;
            store.close().await;
            println!(
                "Erased of {user}: {} webhook(s), {} delivery log(s), {} event(s), {} notice(s), \
                 {} stored answer(s), {} row(s) of the audit trail.",
                erased.webhooks.len(),
                erased.deliveries,
                erased.events,
                erased.notices,
                erased.answers,
                erased.audit
            );
            let access = Access::open(s).await?;
            if let Access::Broker(broker) = &access {
                for webhook in erased.webhooks {
                    broker.announce(&ControlMessage::webhook_changed(user, webhook)).await?;
                }
            }
            let which = Which { user: Some(user.to_string()), ..Which::default() };
            let dropped = access.ask(Ask::Drop { which }).await;
            access.close().await;
            if let Answer::Done(dropped) = dropped? {
                println!("Dropped from studio.rejected: {} message(s).", dropped.done.len());
            }
            println!("{}", what_stays(s));
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn what_stays(settings: &Settings) -> String {
    let waits: Duration = settings.delivery.retry_delays.iter().sum();
    let waits = format_duration(waits);
    let history = format_duration(settings.broker.history_age);
    format!(
        "What stays, and for how long:\n\
         - deliveries that wait in studio.deliver.retry.*: {waits} at most. They are not sent, and \
         are\n  noted as cancelled when their time comes: run this command again after {waits}.\n\
         - events in studio.history: {history}; on RabbitMQ until newer ones fill its segment of \
         20 MB.\n\
         - running dispatchers remember the user's webhooks for {} at most.\n\
         - backups, and what publishers and endpoints keep themselves.",
        format_duration(settings.dispatcher.cache_age)
    )
}
