//! What healthy users were sent, and when: first attempts by the time of publishing that stands
//! in them, retries by the delivery's first attempt.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::waits::{Figures, Waits};
use crate::arrivals::number_after;
use crate::event::unix_micros;
use crate::receiver::Arrival;

/// What stands before the time of publishing, in microseconds, which is an event's name here.
const KEY: &[u8] = br#""t":"#;

/// Events on their way, and how long others took.
#[derive(Debug, Default)]
pub(super) struct Tracker(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// The time that the last event got.
    last: u64,
    /// Published and not arrived, by their time.
    on_their_way: HashSet<u64>,
    /// From publish to arrival, microseconds.
    firsts: Vec<u64>,
    /// How long retries have to wait.
    delay: Duration,
    /// Deliveries that failed once, and when.
    failed: HashMap<String, Instant>,
    /// How late retries came, microseconds.
    late: Vec<u64>,
    /// Retries that came before their time.
    early: usize,
}

impl Tracker {
    /// Forgets everything; from now on retries are due so long after the attempt before.
    pub(super) fn begin(&self, delay: Duration) {
        let mut noted = self.noted();
        *noted = Noted { delay, last: noted.last, ..Noted::default() };
    }

    /// The time of an event that is published now: no other has the same.
    pub(super) fn stamp(&self) -> u64 {
        let mut noted = self.noted();
        noted.last = unix_micros().max(noted.last + 1);
        let stamp = noted.last;
        noted.on_their_way.insert(stamp);
        stamp
    }

    /// A request has arrived.
    pub(super) fn saw(&self, arrival: &Arrival<'_>) {
        let Some(stamp) = number_after(arrival.body, KEY) else { return };
        let mut noted = self.noted();
        if noted.on_their_way.remove(&stamp) {
            noted.firsts.push(arrival.unix_us.saturating_sub(stamp));
            if arrival.answered == Some(503)
                && let Some(delivery) = arrival.delivery
            {
                noted.failed.insert(delivery.to_owned(), arrival.at);
            }
        } else if let Some(before) = arrival.delivery.and_then(|id| noted.failed.remove(id)) {
            noted.retried(arrival.at - before);
        }
    }

    /// Waits until everything has arrived and was retried, for so long at most; what has not
    /// counts with the time that it has taken so far.
    pub(super) async fn finish(&self, longest: Duration) -> Waits {
        let until = Instant::now() + longest;
        while !self.noted().is_done() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut noted = self.noted();
        let (now, at) = (unix_micros(), Instant::now());
        let missing = noted.on_their_way.len();
        let ages: Vec<u64> = noted.on_their_way.iter().map(|t| now.saturating_sub(*t)).collect();
        noted.firsts.extend(ages);
        let waiting: Vec<Duration> = noted.failed.values().map(|before| at - *before).collect();
        let (unretried, delay) = (waiting.len(), noted.delay);
        noted.late.extend(waiting.into_iter().map(|since| micros(since.saturating_sub(delay))));
        let firsts = Figures::of(std::mem::take(&mut noted.firsts), missing);
        let retries = Figures::of(std::mem::take(&mut noted.late), unretried);
        Waits { firsts, retries, early: noted.early }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn is_done(&self) -> bool {
        self.on_their_way.is_empty() && self.failed.is_empty()
    }

    fn retried(&mut self, after: Duration) {
        let late = after.checked_sub(self.delay);
        self.early += usize::from(late.is_none());
        self.late.push(micros(late.unwrap_or_default()));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival<'a>(body: &'a [u8], after: u64, stamp: u64, answered: u16) -> Arrival<'a> {
        let (unix_us, at) = (stamp + after, Instant::now());
        Arrival { at, unix_us, path: "/", delivery: Some("log_1"), body, answered: Some(answered) }
    }

    #[tokio::test]
    async fn a_first_attempt_counts_from_its_publishing_and_a_retry_from_the_attempt_before() {
        let tracker = Tracker::default();
        tracker.begin(Duration::from_millis(10));
        let stamp = tracker.stamp();
        let body = format!(r#"{{"data":{{"t":{stamp}}}}}"#);
        tracker.saw(&arrival(body.as_bytes(), 3_000, stamp, 503));
        std::thread::sleep(Duration::from_millis(15));
        tracker.saw(&arrival(body.as_bytes(), 18_000, stamp, 200));
        let waits = tracker.finish(Duration::ZERO).await;
        assert!((waits.firsts.p99 - 3.0).abs() < 0.01, "{waits:?}");
        assert!(waits.retries.p99 >= 5.0 && waits.retries.missing == 0, "{waits:?}");
    }

    #[tokio::test]
    async fn what_does_not_come_counts_with_its_age() {
        let tracker = Tracker::default();
        tracker.begin(Duration::ZERO);
        tracker.stamp();
        let waits = tracker.finish(Duration::from_millis(20)).await;
        assert_eq!((waits.firsts.count, waits.firsts.missing), (1, 1));
        assert!(waits.firsts.max >= 20.0, "{waits:?}");
    }
}
