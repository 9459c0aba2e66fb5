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
    for group in crowd {
        group.settle(town, endpoints).await?;
    }
    let alone = healthy.measure(town, endpoints, span).await;
    let pressing = crowd.iter().map(|group| group.press(town, endpoints, span.whole()));
    let measuring = healthy.measure(town, endpoints, span);
    let (beside, pressed) = tokio::join!(measuring, futures::future::join_all(pressing));
    let notes = crowd.iter().zip(pressed).map(|(group, pressed)| {
        let Pressed { published, refused } = pressed;
        let requests = endpoints.requests(group.name);
        let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        format!("{}: {published} events{refused}, {requests} requests", group.name)
    });
    Ok(Compared { alone, beside, notes: notes.collect() })
}

/// A crowd's delay that no run is long enough for: once.
pub const ONCE: Duration = Duration::from_secs(1_000_000);
