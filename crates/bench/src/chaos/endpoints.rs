//! Receivers of every kind, and the webhooks that point to them.

use std::time::Duration;

use serde_json::json;

use super::installation::Installation;
use crate::ledger::Subscriber;
use crate::receiver::{Answer, Keep, Receiver, ReceiverOptions, Recorded, Script};

/// Users and their projects: each project has an endpoint of its own kind.
pub(super) const USERS: [&str; 2] = ["usr_chaos", "usr_other"];

/// What the projects' endpoints do. An event of a project also reaches its user's endpoint for
/// everything, which is good.
pub(super) const PROJECTS: [&str; 6] = ["plain", "slow", "failing", "flaky", "reset", "refusing"];

pub(super) struct Endpoints {
    receiver: Receiver,
    pub(super) subscribers: Vec<Subscriber>,
}

impl Endpoints {
    pub(super) async fn start(installation: &Installation) -> anyhow::Result<Self> {
        let options = ReceiverOptions { keep: Keep::Hashes, ..ReceiverOptions::default() };
        let receiver = Receiver::start_with(options).await?;
        receiver.answer("/slow", Answer::Later(Duration::from_millis(300), Box::new(200.into())));
        receiver.answer("/failing", 500);
        receiver.answer("/flaky", Script::by_delivery([500, 503, 200]));
        receiver.answer("/reset", Script::by_delivery([Answer::Reset, 200.into()]));
        let mut endpoints = Self { receiver, subscribers: Vec::new() };
        for user in USERS {
            endpoints.webhook(installation, user, &format!("/all-{user}"), &[]).await?;
        }
        for project in &PROJECTS[1..] {
            endpoints.webhook(installation, USERS[0], &format!("/{project}"), &[project]).await?;
        }
        // A webhook counts from 100 ms after its answer.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(endpoints)
    }

    async fn webhook(
        &mut self,
        installation: &Installation,
        user: &str,
        path: &str,
        projects: &[&str],
    ) -> anyhow::Result<()> {
        // Nobody listens on port 8 of 127.8.8.8; the path names the webhook in the records.
        let refusing = path == "/refusing";
        let url =
            if refusing { format!("http://127.8.8.8:8{path}") } else { self.receiver.url(path) };
        let body = json!({ "name": path, "url": url, "events": ["*"], "project_ids": projects });
        let made = installation.product.post(user, "/v1/webhooks", &body).await?;
        let text = |field: &str| made["data"][field].as_str().unwrap_or_default().to_owned();
        self.subscribers.push(Subscriber {
            webhook: text("id"),
            path: path.to_owned(),
            user: user.to_owned(),
            events: vec!["*".to_owned()],
            projects: projects.iter().map(|&project| project.to_owned()).collect(),
            secret: text("secret"),
            active: true,
        });
        Ok(())
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.receiver.requests()
    }
}
