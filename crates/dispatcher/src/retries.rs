//! Where a delivery goes that is not to be attempted now.

use std::time::Duration;

use broker::{Outgoing, Queue, Target};
use domain::{AttemptReport, DeliveryStatus, DeliveryTask, Schedule};
use time::OffsetDateTime;

/// What follows an attempt.
pub(crate) struct Verdict {
    pub(crate) status: DeliveryStatus,
    /// How long to wait for the next attempt, and when it is due.
    pub(crate) next: Option<(Duration, OffsetDateTime)>,
}

/// What follows `report`, the outcome of attempt `attempt`, which ended at `now`.
pub(crate) fn verdict(
    schedule: &Schedule,
    attempt: u32,
    report: &AttemptReport,
    now: OffsetDateTime,
) -> Verdict {
    if report.succeeded() {
        return Verdict { status: DeliveryStatus::Success, next: None };
    }
    match schedule.wait_after(attempt, report.retry_after) {
        None => Verdict { status: DeliveryStatus::Failed, next: None },
        Some(wait) => Verdict { status: DeliveryStatus::Retrying, next: Some((wait, now + wait)) },
    }
}

/// The message that brings `task` back when it is due: by the delay queue whose wait fits best
/// without being late, or at once. Early arrivals wait for the rest.
pub(crate) fn delayed(
    schedule: &Schedule,
    task: &DeliveryTask,
    now: OffsetDateTime,
) -> (Target, Outgoing) {
    let left: Duration = task
        .not_before
        .and_then(|due| Duration::try_from(due - now).ok())
        .unwrap_or(Duration::ZERO);
    let fits = schedule.delays().iter().filter(|delay| **delay <= left).max();
    let queue = fits.map_or(Queue::Deliver, |delay| Queue::Retry(*delay));
    (Target::Queue(queue), Outgoing::task(task))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Cause, DeliveryId, Event, Origin, WebhookId};

    fn task(left: i64, now: OffsetDateTime) -> DeliveryTask {
        let text = r#"{"id":"e","event":"scrape.failed","timestamp":"2026-02-02T12:00:00Z","user_id":"u","data":{}}"#;
        let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
        let webhook = WebhookId::generate();
        DeliveryTask {
            id: DeliveryId::derive(&event.user, &event.id, webhook, ""),
            webhook,
            event,
            attempt: 2,
            not_before: Some(now + time::Duration::seconds(left)),
            cause: Cause::Event,
        }
    }

    #[test]
    fn a_task_takes_the_longest_delay_that_does_not_make_it_late() {
        let (schedule, now) = (Schedule::default(), OffsetDateTime::UNIX_EPOCH);
        let queue = |left| delayed(&schedule, &task(left, now), now).0;
        assert_eq!(queue(-5), Target::Queue(Queue::Deliver));
        assert_eq!(queue(20), Target::Queue(Queue::Deliver));
        assert_eq!(queue(60), Target::Queue(Queue::Retry(Duration::from_secs(60))));
        assert_eq!(queue(299), Target::Queue(Queue::Retry(Duration::from_secs(60))));
        assert_eq!(queue(90_000), Target::Queue(Queue::Retry(Duration::from_secs(7_200))));
    }
}
