//! Users with whom nothing is wrong: how long their events take to reach them.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::json;

use super::endpoints::Endpoints;
use super::town::{Town, Wanted};
use super::waits::Waits;

/// How often it is looked whether another event is due.
const TICK: Duration = Duration::from_millis(2);

/// Healthy users, each with a quick endpoint and one that fails once for each delivery.
#[derive(Clone, Copy, Debug)]
pub struct Healthy {
    /// How many there are.
    pub users: usize,
    /// Events a second to their quick endpoints, all of them together.
    pub rate: f64,
    /// Events a second to those that fail once.
    pub failing_rate: f64,
    /// The host that they share with others; each has its own without.
    pub host: Option<Ipv4Addr>,
}

impl Default for Healthy {
    fn default() -> Self {
        Self { users: 20, rate: 50.0, failing_rate: 5.0, host: None }
    }
}

/// How long something is measured.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// How long events are published that fail once; others until the last of these is due again.
    pub length: Duration,
    /// The first step of the schedule.
    pub delay: Duration,
    /// How long the last events may take to arrive.
    pub patience: Duration,
    /// How long the crowd is published to before they are measured beside it.
    pub head_start: Duration,
}

impl Span {
    /// From the first to the last publish.
    #[must_use]
    pub fn whole(&self) -> Duration {
        self.length + self.delay
    }
}

impl Healthy {
    /// Makes their webhooks, and lets each user be told of a few events.
    ///
    /// # Errors
    /// When the API or a publisher is refused, or nothing arrives within a minute.
    pub async fn settle(&self, town: &Town, endpoints: &Endpoints) -> anyhow::Result<()> {
        let webhooks = (0..self.users).flat_map(|number| {
            let [quick, once] = endpoints.healthy(self.host);
            let user = user(number);
            [(quick, "quick"), (once, "once")].map(|(url, project)| Wanted {
                user: user.clone(),
                url,
                fields: json!({ "project_ids": [project] }),
            })
        });
        town.make(webhooks.collect()).await?;
        endpoints.tracker.begin(Duration::ZERO);
        // Connections are made, users are known: what is measured is not the first minute.
        for round in 0..5 {
            for number in 0..self.users {
                self.publish(town, endpoints, number, "quick").await?;
            }
            let arrived = endpoints.tracker.finish(Duration::from_secs(60)).await;
            anyhow::ensure!(arrived.firsts.missing == 0, "nothing arrives in round {round}");
        }
        Ok(())
    }

    /// Publishes for `span` and waits for everything to arrive; what could not be published counts
    /// as not arrived.
    pub async fn measure(&self, town: &Town, endpoints: &Endpoints, span: Span) -> Waits {
        endpoints.tracker.begin(span.delay);
        let (began, mut tick) = (Instant::now(), tokio::time::interval(TICK));
        let mut publishing = FuturesUnordered::new();
        let (mut quick, mut failing) = (0, 0);
        while began.elapsed() < span.whole() {
            tokio::select! {
                _ = tick.tick() => {}
                Some(_confirmed) = publishing.next(), if !publishing.is_empty() => continue,
            }
            while quick < due(self.rate, began) {
                publishing.push(self.publish(town, endpoints, quick, "quick"));
                quick += 1;
            }
            while failing < due(self.failing_rate, began) && began.elapsed() < span.length {
                publishing.push(self.publish(town, endpoints, failing, "once"));
                failing += 1;
            }
        }
        let until = Instant::now() + span.patience;
        let rest = async { while publishing.next().await.is_some() {} };
        tokio::time::timeout(span.patience, rest).await.ok();
        endpoints.tracker.finish(until.saturating_duration_since(Instant::now())).await
    }

    async fn publish(
        &self,
        town: &Town,
        endpoints: &Endpoints,
        number: usize,
        project: &str,
    ) -> anyhow::Result<()> {
        let stamp = format!(r#""t":{}"#, endpoints.tracker.stamp());
        let event = town.event(&user(number % self.users), project, &stamp);
        Ok(town.publish(&event).await?)
    }
}

/// How many events of so many a second are due by now.
pub(super) fn due(rate: f64, began: Instant) -> usize {
    (rate * began.elapsed().as_secs_f64()) as usize
}

fn user(number: usize) -> String {
    format!("usr_healthy_{number}")
}
