//! Where a delivery goes that is not to be attempted now.

use std::time::Duration;

use broker::{Outgoing, Queue, Target};
use domain::{AttemptReport, DeliveryStatus, DeliveryTask, Schedule};
use time::OffsetDateTime;

use crate::gate::Busy;

/// The wait of [`Queue::Wait`].
const WAIT: Duration = Duration::from_secs(5);

/// The longest that a delivery waits before its webhook's circuit is looked at again.
const LONGEST_TURN: Duration = Duration::from_secs(300);

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
/// without being late, or at once when it is due already. Early arrivals wait once more.
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
    let queue = match fits {
        Some(delay) => Queue::Retry(*delay),
        None if left.is_zero() => Queue::Deliver,
        None => Queue::Wait,
    };
    (Target::Queue(queue), Outgoing::task(task))
}

/// How long a delivery waits whose webhook is busy, and in which queue. While a circuit stays
/// open, what waits for it comes round less and less often, so that a dead endpoint's backlog
/// costs little however long it grows; a recovered one has it within [`LONGEST_TURN`].
pub(crate) fn turn(schedule: &Schedule, busy: Busy) -> (Queue, Duration) {
    let longest = match busy {
        Busy::AtItsLimit => Duration::ZERO,
        Busy::Open(since) => (since / 4).min(LONGEST_TURN),
        Busy::Paced(wait) => wait,
    };
    let fits = schedule.delays().iter().filter(|delay| **delay <= longest).max();
    match fits {
        Some(delay) if *delay > WAIT => (Queue::Retry(*delay), *delay),
        _ => (Queue::Wait, WAIT),
    }
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
        assert_eq!(queue(20), Target::Queue(Queue::Wait));
        assert_eq!(queue(60), Target::Queue(Queue::Retry(Duration::from_secs(60))));
        assert_eq!(queue(299), Target::Queue(Queue::Retry(Duration::from_secs(60))));
        assert_eq!(queue(90_000), Target::Queue(Queue::Retry(Duration::from_secs(7_200))));
    }

    #[test]
    fn what_waits_for_a_dead_endpoint_comes_round_less_often_the_longer_it_is_dead() {
        let wait = |minutes: u64| {
            turn(&Schedule::default(), Busy::Open(Duration::from_secs(minutes * 60))).1
        };
        assert_eq!(wait(1), Duration::from_secs(5));
        assert_eq!(wait(5), Duration::from_secs(60));
        assert_eq!(wait(30), Duration::from_secs(300));
        assert_eq!(wait(60 * 24 * 4), Duration::from_secs(300));
        assert_eq!(turn(&Schedule::default(), Busy::AtItsLimit), (Queue::Wait, WAIT));
    }
}
