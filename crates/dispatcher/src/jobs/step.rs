//! One step of a job: deliveries recorded as planned and published, at a pace.

use std::time::Duration;

use broker::{Outgoing, Queue, Target};
use domain::{DeliveryTask, Event};
use store::{Job, Outcome};
use tokio::time::Instant;

use crate::Context;
use crate::jobs::Trouble;

/// Deliveries of one step, at most: their events are in memory together.
const LARGEST: u32 = 100;

/// How many deliveries a step has, and how long it takes at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) size: u32,
    length: Duration,
}

impl Pace {
    /// At most `rate` deliveries a second.
    pub(super) fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        let size = rate.min(LARGEST);
        Self { size, length: Duration::from_secs(1) * size / rate }
    }

    /// Waits until a step of `count` deliveries that began at `began` may be followed.
    pub(super) async fn wait(&self, began: Instant, count: usize) {
        let share = u32::try_from(count).unwrap_or(u32::MAX).min(self.size);
        tokio::time::sleep_until(began + self.length * share / self.size).await;
    }
}

/// The delivery that `job` makes of `event`.
pub(super) fn task(event: Event, job: &Job) -> DeliveryTask {
    let (id, cause) = (job.delivery_of(&event), job.cause());
    DeliveryTask { id, webhook: job.webhook, event, attempt: 1, not_before: None, cause }
}

/// Records the deliveries as planned and publishes them, unless the job is not ours any more.
///
/// Recorded first: published and not recorded, they would be missing from the log until they
/// are tried, and a repeated step could not tell them from new ones.
pub(super) async fn send(
    context: &Context,
    job: &Job,
    tasks: &[DeliveryTask],
) -> Result<(), Trouble> {
    if !context.store.job_stands(job).await? {
        return Err(Trouble::Ended);
    }
    let planned: Vec<Outcome> = tasks.iter().map(Outcome::planned).collect();
    context.store.record(&planned).await?;
    let messages = tasks.iter().map(|t| (Target::Queue(Queue::Deliver), Outgoing::task(t)));
    let results = context.broker.publish_all(messages.collect()).await;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_kept_by_steps_of_any_size() {
        for (rate, size, seconds) in [(50, 50, 1.0), (1_000, 100, 0.1), (0, 1, 1.0)] {
            let pace = Pace::new(rate);
            assert_eq!(pace.size, size);
            let began = Instant::now();
            pace.wait(began, size as usize).await;
            let took = began.elapsed().as_secs_f64();
            assert!((took - seconds).abs() < 0.002, "{rate}: {took}");
            pace.wait(Instant::now(), 0).await;
        }
    }
}
