//! The broker is the timer, the store is the truth: deliveries whose next attempt is overdue,
//! because their message was lost or is stuck, are published again.

use std::sync::Arc;
use std::time::Duration;

use broker::{Outgoing, Queue, Target};
use domain::{DeliveryId, DeliveryTask};
use store::{Overdue, StoreError};
use telemetry::Gauge;
use uuid::Uuid;

use crate::Context;

/// How late a delivery must be before it counts as overdue: later than the broker ever is while
/// it works.
const PATIENCE: Duration = Duration::from_secs(20);

/// Deliveries published again in one round.
const ROUND: u64 = 1_000;

/// What was published again is given this long before it counts as lost once more.
const AGAIN_AFTER: Duration = Duration::from_secs(120);

/// What is counted in the store, by the one dispatcher that looks.
struct Gauges {
    overdue: Gauge<u64>,
    backlogs: Gauge<u64>,
    waiting: Gauge<u64>,
}

impl Gauges {
    fn new() -> Self {
        let meter = telemetry::meter();
        let gauge = |name: &'static str, text: &'static str| {
            meter.u64_gauge(name).with_description(text).build()
        };
        Self {
            overdue: gauge(
                "deliveries_overdue",
                "Deliveries later than planned, counted up to 10,000",
            ),
            backlogs: gauge("backlogs", "Webhooks' lines of deliveries that wait in the store"),
            waiting: gauge(
                "backlog_deliveries",
                "Deliveries that wait in them, counted up to 100,000",
            ),
        }
    }
}

/// Looks every `period` until the stop; of several dispatchers one looks.
pub(crate) async fn run(context: Arc<Context>, period: Duration) {
    let holder = Uuid::now_v7().to_string();
    let gauges = Gauges::new();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        context.slots.forget_idle();
        if let Err(error) = round(&context, &holder, period, &gauges).await {
            tracing::warn!("overdue deliveries were not looked for: {error}");
        }
    }
}

async fn round(
    context: &Context,
    holder: &str,
    period: Duration,
    gauges: &Gauges,
) -> Result<(), StoreError> {
    if !context.store.acquire_lease("sweep", holder, period * 2).await? {
        return Ok(());
    }
    if context.store.adopt_backlogs().await? > 0 {
        context.backlogs.claim_soon();
    }
    let due_before = context.clock.now() - PATIENCE;
    gauges.overdue.record(context.store.count_overdue(due_before).await?, &[]);
    let (backlogs, waiting) = context.store.backlog_totals().await?;
    gauges.backlogs.record(backlogs, &[]);
    gauges.waiting.record(waiting, &[]);
    // What is overdue may only stand in line: it must not grow by copies.
    if !matches!(context.broker.depth(Queue::Deliver).await, Ok(depth) if depth < ROUND) {
        return Ok(());
    }
    loop {
        let found = context.store.overdue(due_before, ROUND).await?;
        let full = found.len() as u64 == ROUND;
        if found.is_empty() {
            return Ok(());
        }
        let sent = publish(context, found).await;
        tracing::warn!("{} overdue deliveries were published again", sent.len());
        context.store.postpone(&sent, context.clock.now() + AGAIN_AFTER).await?;
        if !full || sent.is_empty() {
            return Ok(());
        }
    }
}

/// Publishes what was found; gives back what the broker confirmed.
async fn publish(context: &Context, found: Vec<Overdue>) -> Vec<DeliveryId> {
    let ids: Vec<DeliveryId> = found.iter().map(|overdue| overdue.delivery).collect();
    let messages = found
        .into_iter()
        .map(|overdue| (Target::Queue(Queue::Deliver), Outgoing::task(&task(overdue))))
        .collect();
    let results = context.broker.publish_all(messages).await;
    ids.into_iter().zip(results).filter(|(_, result)| result.is_ok()).map(|(id, _)| id).collect()
}

fn task(overdue: Overdue) -> DeliveryTask {
    DeliveryTask {
        id: overdue.delivery,
        webhook: overdue.webhook,
        event: overdue.event,
        attempt: overdue.attempts + 1,
        not_before: Some(overdue.next_attempt_at),
        cause: overdue.cause,
    }
}
