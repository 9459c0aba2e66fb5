//! Waiting costs nobody else: how long healthy users wait for their first attempts and their
//! retries by themselves, and beside a crowd whose endpoints are slow, silent, few or full.
//!
//! Everything is measured at the default settings, "alone" and "beside" in the same run.

mod endpoints;
mod group;
mod healthy;
mod town;
mod tracker;
mod waits;

mod site;

mod filters;
mod scenario;

mod burst;
mod kills;
mod million;
mod order;
mod ordered;
mod run;

use std::time::Duration;

pub use endpoints::{Endpoints, Manner, SHARED};
pub use group::{Group, Load, Pressed};
pub use healthy::{Healthy, Span};
pub use order::{Drained, Kept, Order, Try};
pub use run::{Outcome, Plan, run};
pub use scenario::Scenario;
pub use site::{Site, Writes, total};
pub use town::{Town, Wanted};
pub use waits::{Compared, Figures, Waits};

/// A load that no run is long enough to repeat.
pub const ONCE: Duration = Duration::from_secs(1_000_000);

/// What a log says of a delivery.
const STATUSES: [&str; 4] = ["pending", "retrying", "success", "failed"];

/// Measures healthy users by themselves, and then while `crowd` is published to.
///
/// # Errors
/// When a webhook or a publisher is refused, or nothing arrives.
pub async fn compare(
    town: &Town,
    endpoints: &Endpoints,
    healthy: Healthy,
    crowd: &[Group],
    span: Span,
) -> anyhow::Result<Compared> {
    healthy.settle(town, endpoints).await?;
    let mut webhooks = Vec::new();
    for group in crowd {
        webhooks.push(group.settle(town, endpoints).await?);
    }
    let alone = healthy.measure(town, endpoints, span).await;
    let pressed_for = span.head_start + span.whole();
    let pressing = crowd.iter().map(|group| group.press(town, endpoints, pressed_for));
    let measuring = async {
        tokio::time::sleep(span.head_start).await;
        healthy.measure(town, endpoints, span).await
    };
    let (beside, pressed) = tokio::join!(measuring, futures::future::join_all(pressing));
    let mut notes = Vec::new();
    for ((group, webhooks), pressed) in crowd.iter().zip(webhooks).zip(pressed) {
        notes.push(format!(
            "{}: {pressed}, {} requests",
            group.name,
            endpoints.requests(group.name)
        ));
        // Of a single one it is of interest what has become of its events.
        if let [webhook] = webhooks.as_slice() {
            notes.push(format!("{}: {}", group.name, logged(town, &group.user(0), webhook).await?));
        }
    }
    Ok(Compared { alone, beside, notes })
}

/// How many deliveries of a webhook there are of each status, each up to 10,000.
async fn logged(town: &Town, user: &str, webhook: &str) -> anyhow::Result<String> {
    let mut all = Vec::new();
    for status in STATUSES {
        all.push(format!("{} {status}", town.logged(user, webhook, status).await?));
    }
    Ok(all.join(", "))
}
