//! Sends an event to a local program as the dispatcher would.

use anyhow::{Context, anyhow};
use delivery::{DeliveryConfig, Endpoint, Sender};
use domain::setting::SecretUrl;
use domain::{DeliveryId, Event, Secret};
use rand::RngExt;
use time::macros::format_description;

use crate::config::Settings;

/// A local program.
pub(super) struct Forward {
    sender: Sender,
    endpoint: Endpoint,
}

impl Forward {
    /// Forwards to `target`, signed with `secret`; with a new one that is printed, without.
    pub(super) fn new(
        target: &SecretUrl,
        secret: Option<String>,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        // Whoever runs this chose the address.
        let anywhere = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
        let config = DeliveryConfig {
            allow_networks: anywhere,
            deny_networks: Vec::new(),
            require_https: false,
            ..settings.delivery.clone()
        };
        let sender = Sender::new(&config).map_err(|e| anyhow!("{}: {}", e.key, e.message))?;
        // Not the URL, whose path or query may be a secret.
        sender.guard().check_url(target.expose()).context("--forward")?;
        let secret = secret.map_or_else(made, Secret::new);
        let endpoint = Endpoint::unregistered(target.expose(), &secret).context("--forward")?;
        eprintln!("Forwarding to {}", target.shown());
        Ok(Self { sender, endpoint })
    }

    /// Sends `event`; a line that tells what came of it.
    pub(super) async fn send(&self, event: &Event) -> String {
        let delivery = DeliveryId::derive(&event.user, &event.id, self.endpoint.webhook, "");
        let report = self.sender.attempt(&self.endpoint, event, delivery, 1).await;
        let time = report
            .started_at
            .format(format_description!("[hour]:[minute]:[second]"))
            .unwrap_or_default();
        let answer = match (report.status, &report.failure) {
            (Some(status), Some(failure)) => format!("{status} {}", failure.text),
            (Some(status), None) => format!("{status} OK"),
            (None, failure) => failure.as_ref().map_or_else(String::new, |f| f.text.clone()),
        };
        let took = report.duration.as_secs_f64() * 1_000.0;
        format!("{time}  {}  {}  {answer}  {took:.0} ms", event.kind, event.id)
    }
}

fn made() -> Secret {
    let secret = Secret::from_random(rand::rng().random());
    eprintln!("Signing with {} (--secret keeps it the same)", secret.expose());
    secret
}
