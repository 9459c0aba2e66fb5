//! Publishing as Studio's services do: over AMQP with confirms, or through the API.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};

use crate::event::unix_micros;

/// Publishes that may wait for their confirm at the same time.
const WINDOW: usize = 500;

/// The user whose events are published.
pub const USER: &str = "usr_bench";

/// An event of about 350 bytes that carries the time of its publishing.
#[must_use]
pub fn event(number: usize) -> String {
    let now = unix_micros();
    format!(
        r#"{{"id":"evt_{now:x}_{number:x}","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"{USER}","data":{{"t":{now},"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","status":"completed","targets_scraped":5,"results_count":150,"new_results":25,"duration_seconds":45,"errors":[]}}}}"#
    )
}

/// A publisher over AMQP.
pub struct AmqpPublisher {
    _connection: Connection,
    channel: Channel,
}

impl AmqpPublisher {
    /// Connects.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = crate::servers::connect(url).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { _connection: connection, channel })
    }

    /// Publishes `count` events as fast as they are confirmed.
    ///
    /// # Errors
    /// When one is not confirmed or not routed.
    pub async fn flood(&self, count: usize) -> anyhow::Result<()> {
        let mut confirms = FuturesUnordered::new();
        for number in 0..count {
            confirms.push(self.send(number).await?);
            if confirms.len() >= WINDOW
                && let Some(confirmation) = confirms.next().await
            {
                check(confirmation)?;
            }
        }
        while let Some(confirmation) = confirms.next().await {
            check(confirmation)?;
        }
        Ok(())
    }

    /// Publishes `rate` events a second for `length`; gives back how many.
    ///
    /// # Errors
    /// When one is not confirmed or not routed.
    pub async fn trickle(&self, rate: u32, length: Duration) -> anyhow::Result<usize> {
        let mut confirms = FuturesUnordered::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < length {
            tick.tick().await;
            confirms.push(self.send(count).await?);
            count += 1;
            while let Some(Some(confirmation)) = futures::FutureExt::now_or_never(confirms.next()) {
                check(confirmation)?;
            }
        }
        while let Some(confirmation) = confirms.next().await {
            check(confirmation)?;
        }
        Ok(count)
    }

    async fn send(
        &self,
        number: usize,
    ) -> anyhow::Result<impl Future<Output = lapin::Result<Confirmation>> + use<>> {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = ("studio.events".into(), "scrape.completed".into());
        let body = event(number);
        Ok(self.channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await?)
    }
}

fn check(confirmation: lapin::Result<Confirmation>) -> anyhow::Result<()> {
    match confirmation? {
        Confirmation::Ack(None) => Ok(()),
        other => anyhow::bail!("an event was not confirmed: {other:?}"),
    }
}

/// A publisher through `POST /v1/events`.
pub struct HttpPublisher {
    /// Calls the API.
    pub client: reqwest::Client,
    /// The API's address.
    pub base: String,
    /// A token of the role `service`.
    pub token: String,
}

impl HttpPublisher {
    /// Publishes `count` events in batches of `batch`, four requests at a time.
    ///
    /// # Errors
    /// When a request is not answered with 202.
    pub async fn flood(&self, count: usize, batch: usize) -> anyhow::Result<()> {
        let batches = (0..count).step_by(batch.max(1)).map(|start| {
            let numbers = start..(start + batch).min(count);
            async move {
                let events: Vec<String> = numbers.map(event).collect();
                self.post(format!(r#"{{"events":[{}]}}"#, events.join(","))).await
            }
        });
        let mut running = futures::stream::iter(batches).buffer_unordered(4);
        while let Some(result) = running.next().await {
            result?;
        }
        Ok(())
    }

    /// Publishes `rate` events a second for `length`, one a request; gives back how many.
    ///
    /// # Errors
    /// When a request is not answered with 202.
    pub async fn trickle(&self, rate: u32, length: Duration) -> anyhow::Result<usize> {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        let mut running = FuturesUnordered::new();
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < length {
            tick.tick().await;
            running.push(self.post(event(count)));
            count += 1;
            while let Some(Some(result)) = futures::FutureExt::now_or_never(running.next()) {
                result?;
            }
        }
        while let Some(result) = running.next().await {
            result?;
        }
        Ok(count)
    }

    async fn post(&self, body: String) -> anyhow::Result<()> {
        let answer = self
            .client
            .post(format!("{}/v1/events", self.base))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await?;
        let status = answer.status();
        anyhow::ensure!(
            status == 202,
            "POST /v1/events answered {status}: {}",
            answer.text().await?
        );
        Ok(())
    }
}
