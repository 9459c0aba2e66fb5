//! Many deliveries that wait for their next attempt: how late it comes, and what the waiting
//! costs.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::chaos::Backend;
use crate::chaos::installation::Installation;
use crate::event::SampleEvent;
use crate::publish::HttpPublisher;
use crate::quantile::quantile;
use crate::receiver::{Keep, Receiver, ReceiverOptions, Script};

/// Events of one request to the API.
const BATCH: usize = 100;

/// How long everything may take beside the wait.
const PATIENCE: Duration = Duration::from_secs(120);

const USER: &str = "usr_waiting";

/// What is to wait.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The product's binary.
    pub binary: PathBuf,
    /// On what it runs.
    pub backend: Backend,
    /// How many deliveries fail once and wait.
    pub deliveries: usize,
    /// How long each waits; publishing them all must take less.
    pub delay: Duration,
}

/// How the wait was.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// How many waited at the same time.
    pub deliveries: usize,
    /// Attempts that came before their time.
    pub early: usize,
    /// How late half of the second attempts were, at most.
    pub p50: Duration,
    /// How late 99 of 100 were, at most.
    pub p99: Duration,
    /// How late the latest was.
    pub latest: Duration,
    /// What the dispatchers used while all waited, as a share of one core.
    pub cpu_share: f64,
}

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deliveries, early, p50, p99, latest, cpu_share } = self;
        write!(
            f,
            "{deliveries} deliveries waiting: {:.2} % of a core; attempts late by p50 {p50:.1?}, p99 {p99:.1?}, at most {latest:.1?}; {early} early",
            cpu_share * 100.0
        )
    }
}

/// Lets deliveries wait and measures.
///
/// # Errors
/// When the product cannot be set up, or attempts do not come.
pub async fn run(plan: Plan) -> anyhow::Result<Waited> {
    let settings = [format!("STUDIO__DELIVERY__RETRY_DELAYS={}ms", plan.delay.as_millis())];
    let installation =
        Installation::start("bench/waiting", &plan.binary, plan.backend, &settings).await?;
    let options = ReceiverOptions {
        keep: Keep::Hashes,
        max_requests: plan.deliveries * 3,
        ..ReceiverOptions::default()
    };
    let receiver = Receiver::start_with(options).await?;
    receiver.answer("/", Script::by_delivery([500, 200]));
    let body = json!({ "name": "waiting", "url": receiver.url("/"), "events": ["*"] });
    installation.product.post(USER, "/v1/webhooks", &body).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    publish(&installation, plan.deliveries).await?;
    receiver.wait_for(plan.deliveries, PATIENCE).await?;
    let left = plan.delay.saturating_sub(began.elapsed());
    anyhow::ensure!(left > Duration::from_secs(2), "publishing took too long for this delay");
    // The last retries are planned; the first are not due yet.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, at) = (installation.dispatching_cpu(), Instant::now());
    tokio::time::sleep(left.saturating_sub(Duration::from_millis(1_500))).await;
    let cpu_share = (installation.dispatching_cpu() - before) / at.elapsed().as_secs_f64();
    receiver.wait_for(plan.deliveries * 2, plan.delay + PATIENCE).await?;
    let (early, lateness) = lateness(&receiver, plan.delay);
    let share = |share| quantile(&lateness, share).unwrap_or_default();
    let (p50, p99, latest) = (share(0.5), share(0.99), share(1.0));
    Ok(Waited { deliveries: plan.deliveries, early, p50, p99, latest, cpu_share })
}

async fn publish(installation: &Installation, count: usize) -> anyhow::Result<()> {
    let token = installation.product.token("svc", "service");
    let publisher = HttpPublisher::new(&installation.product.api, &token)?;
    for start in (0..count).step_by(BATCH) {
        let events: Vec<SampleEvent> = (start..(start + BATCH).min(count))
            .map(|number| SampleEvent::new(format!("w{number}"), USER, "p"))
            .collect();
        publisher.publish_batch(&events).await?;
    }
    Ok(())
}

/// How much later than `delay` each second attempt came, sorted, and how many came earlier.
fn lateness(receiver: &Receiver, delay: Duration) -> (usize, Vec<Duration>) {
    let requests = receiver.requests();
    let mut first: HashMap<&str, Instant> = HashMap::new();
    let (mut early, mut late) = (0, Vec::new());
    for request in &requests {
        let Some(id) = request.header("x-sentimatrix-delivery") else { continue };
        match first.get(id) {
            None => {
                first.insert(id, request.at);
            }
            Some(before) => match (request.at - *before).checked_sub(delay) {
                Some(lateness) => late.push(lateness),
                None => early += 1,
            },
        }
    }
    late.sort_unstable();
    (early, late)
}
