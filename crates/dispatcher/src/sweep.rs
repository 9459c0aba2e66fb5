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

/// Looks every `period` until the stop; of several dispatchers one looks.
pub(crate) async fn run(context: Arc<Context>, period: Duration) {
    let holder = Uuid::now_v7().to_string();
    let gauge = telemetry::meter()
        .u64_gauge("deliveries_overdue")
        .with_description("Deliveries later than planned, counted up to 10,000")
        .build();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        context.slots.forget_idle();
        if let Err(error) = round(&context, &holder, period, &gauge).await {
            tracing::warn!("overdue deliveries were not looked for: {error}");
        }
    }
}

async fn round(
    context: &Context,
    holder: &str,
    period: Duration,
    gauge: &Gauge<u64>,
) -> Result<(), StoreError> {
    if !context.store.acquire_lease("sweep", holder, period * 2).await? {
        return Ok(());
    }
    if context.store.adopt_backlogs().await? > 0 {
        context.backlogs.claim_soon();
    }
    let due_before = context.clock.now() - PATIENCE;
    gauge.record(context.store.count_overdue(due_before).await?, &[]);
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
