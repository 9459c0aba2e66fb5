//! What the product's API says of the deliveries.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::endpoints::Endpoints;
use super::installation::Installation;
use crate::ledger::{LogRow, Published, Subscriber};

/// Logs of one page.
const PAGE: usize = 100;

pub(super) struct Logbook<'a> {
    installation: &'a Installation,
    /// Each webhook with the number of confirmed events it asked for.
    webhooks: Vec<(&'a Subscriber, u64)>,
}

impl<'a> Logbook<'a> {
    pub(super) fn new(
        installation: &'a Installation,
        endpoints: &'a Endpoints,
        published: &[Published],
    ) -> Self {
        let expected = |one: &Subscriber| {
            published.iter().filter(|event| event.confirmed && one.wants(event)).count() as u64
        };
        let webhooks = endpoints.subscribers.iter().map(|one| (one, expected(one))).collect();
        Self { installation, webhooks }
    }

    /// Waits until every confirmed event is in the log of every webhook that asked for it and no
    /// delivery goes on; `false` when `deadline` passes first.
    pub(super) async fn wait_for_rest(&mut self, deadline: Duration) -> anyhow::Result<bool> {
        let began = Instant::now();
        let mut left = self.webhooks.clone();
        while let Some((webhook, expected)) = left.last().copied() {
            if self.at_rest(webhook, expected).await? {
                left.pop();
                continue;
            }
            if began.elapsed() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Ok(true)
    }

    async fn at_rest(&self, webhook: &Subscriber, expected: u64) -> anyhow::Result<bool> {
        for status in ["pending", "retrying"] {
            let path = format!("{}?status={status}&limit=1", path(webhook));
            let found = self.installation.product.get(&webhook.user, &path).await?;
            if found["meta"]["pagination"]["total"] != 0 {
                return Ok(false);
            }
        }
        let all = format!("{}?limit=1", path(webhook));
        let found = self.installation.product.get(&webhook.user, &all).await?;
        let pagination = &found["meta"]["pagination"];
        let total = pagination["total"].as_u64().unwrap_or(0);
        Ok(total >= expected || pagination["total_capped"] == true)
    }

    /// Every delivery with the numbers of its attempts.
    pub(super) async fn read(&self) -> anyhow::Result<Vec<LogRow>> {
        let mut rows = Vec::new();
        for (webhook, _) in &self.webhooks {
            for page in 1.. {
                let path = format!("{}?limit={PAGE}&page={page}", path(webhook));
                let found = self.installation.product.get(&webhook.user, &path).await?;
                let logs = found["data"].as_array().cloned().unwrap_or_default();
                for log in &logs {
                    rows.push(self.row(webhook, log).await?);
                }
                if logs.len() < PAGE {
                    break;
                }
            }
        }
        Ok(rows)
    }

    async fn row(&self, webhook: &Subscriber, log: &Value) -> anyhow::Result<LogRow> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let plain = log["status"] == "success" && log["retry_count"] == 0;
        let attempts = if plain {
            vec![1]
        } else {
            let path = format!("{}/{}", path(webhook), text(&log["id"]));
            let detail = self.installation.product.get(&webhook.user, &path).await?;
            let attempts = detail["data"]["attempts"].as_array().cloned().unwrap_or_default();
            let number = |attempt: &Value| u32::try_from(attempt["number"].as_u64()?).ok();
            attempts.iter().filter_map(number).collect()
        };
        Ok(LogRow {
            webhook: webhook.webhook.clone(),
            delivery: text(&log["id"]),
            event: text(&log["event_id"]),
            status: text(&log["status"]),
            attempts,
        })
    }
}

fn path(webhook: &Subscriber) -> String {
    format!("/v1/webhooks/{}/logs", webhook.webhook)
}
