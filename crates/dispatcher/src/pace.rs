//! A webhook's own limit of deliveries a second: it spreads them and loses none. Each gets a time
//! of its own; what must wait longer than a moment waits with the broker.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longer waits than this are the broker's.
const MOMENT: Duration = Duration::from_secs(1);

/// What is handed back to the broker is not seen again sooner.
const ROUND_TRIP: Duration = Duration::from_secs(5);

/// When the next delivery may be made.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Between two deliveries; zero without a limit.
    interval: Duration,
    /// From when on the next may be made.
    next: Option<Instant>,
    /// From when on the next of those at the broker may be made.
    planned: Option<Instant>,
}

impl Pace {
    /// Sets the limit, in deliveries a second.
    pub(crate) fn set(&self, per_second: Option<u32>) {
        let interval =
            per_second.map_or(Duration::ZERO, |many| Duration::from_secs(1) / many.max(1));
        let mut state = self.lock();
        if state.interval != interval {
            *state = State { interval, ..State::default() };
        }
    }

    /// Takes the next time: how long to wait for it from `now`. `fresh` ones stand behind all
    /// that was handed back before them.
    ///
    /// # Errors
    /// The wait, when it is the broker's: nothing was taken.
    pub(crate) fn reserve(&self, now: Instant, fresh: bool) -> Result<Duration, Duration> {
        let mut state = self.lock();
        let interval = state.interval;
        if interval.is_zero() {
            return Ok(Duration::ZERO);
        }
        let next = state.next.map_or(now, |next| next.max(now));
        let behind = fresh && state.planned.is_some_and(|planned| planned > now);
        if next - now <= MOMENT && !behind {
            state.next = Some(next + interval);
            return Ok(next - now);
        }
        let soonest = now + ROUND_TRIP;
        let planned = state.planned.map_or(soonest, |planned| planned.max(soonest));
        state.planned = Some(planned + interval);
        Err(planned - now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_nothing_waits() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert!((0..1_000).all(|_| pace.reserve(now, true) == Ok(Duration::ZERO)));
    }

    #[test]
    fn a_burst_is_spread_at_the_limit_and_what_cannot_wait_here_waits_with_the_broker() {
        let (pace, now) = (Pace::default(), Instant::now());
        pace.set(Some(10));
        let waits: Vec<_> = (0..31).map(|_| pace.reserve(now, true)).collect();
        let tenth = Duration::from_millis(100);
        for (n, wait) in waits.iter().enumerate().take(11) {
            assert_eq!(*wait, Ok(tenth * u32::try_from(n).unwrap()));
        }
        for (n, wait) in waits.iter().skip(11).enumerate() {
            assert_eq!(*wait, Err(ROUND_TRIP + tenth * u32::try_from(n).unwrap()));
        }
        let later = now + ROUND_TRIP;
        assert_eq!(pace.reserve(later, false), Ok(Duration::ZERO), "one that comes back");
        assert!(pace.reserve(later, true).is_err(), "a fresh one stands behind them");
    }

    #[test]
    fn the_same_limit_again_forgets_nothing_and_another_begins_anew() {
        let (pace, now) = (Pace::default(), Instant::now());
        pace.set(Some(1));
        assert_eq!(pace.reserve(now, true), Ok(Duration::ZERO));
        pace.set(Some(1));
        assert_eq!(pace.reserve(now, true), Ok(Duration::from_secs(1)));
        pace.set(None);
        assert_eq!(pace.reserve(now, true), Ok(Duration::ZERO));
    }
}
