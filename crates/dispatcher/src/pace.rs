//! A webhook's own limit of deliveries a second: it spreads them and loses none. All deliveries of
//! such a webhook go through its backlog, which one dispatcher drains: the limit holds over all.

use std::time::{Duration, Instant};

/// When the next delivery may be made.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Between two deliveries; zero without a limit.
    interval: Duration,
    /// From when on the next may be made.
    next: Option<Instant>,
}

impl Pace {
    /// Sets the limit, in deliveries a second.
    pub(crate) fn set(&mut self, per_second: Option<u32>) {
        let interval =
            per_second.map_or(Duration::ZERO, |many| Duration::from_secs(1) / many.max(1));
        if self.interval != interval {
            *self = Self { interval, next: None };
        }
    }

    /// Whether there is a limit.
    pub(crate) fn is_set(&self) -> bool {
        !self.interval.is_zero()
    }

    /// Whether a delivery may be made at `now`.
    ///
    /// # Errors
    /// When the next one may.
    pub(crate) fn admits(&self, now: Instant) -> Result<(), Instant> {
        self.next.filter(|next| *next > now).map_or(Ok(()), Err)
    }

    /// A delivery is made at `now`. A timer is late by up to a millisecond or two, which the next
    /// one makes good; longer pauses are not made good.
    pub(crate) fn goes(&mut self, now: Instant) {
        if self.is_set() {
            let planned = self.next.filter(|next| now - *next < self.interval);
            self.next = Some(planned.unwrap_or(now) + self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_nothing_waits() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        for _ in 0..1_000 {
            assert_eq!(pace.admits(now), Ok(()));
            pace.goes(now);
        }
    }

    #[test]
    fn deliveries_are_spread_at_the_limit_and_a_late_timer_is_made_good() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.set(Some(10));
        let tenth = Duration::from_millis(100);
        pace.goes(now);
        assert_eq!(pace.admits(now), Err(now + tenth));
        let late = now + tenth + Duration::from_millis(2);
        assert_eq!(pace.admits(late), Ok(()));
        pace.goes(late);
        assert_eq!(pace.admits(late), Err(now + 2 * tenth));
        let long_after = now + 100 * tenth;
        pace.goes(long_after);
        assert_eq!(pace.admits(long_after), Err(long_after + tenth), "no burst after a pause");
    }

    #[test]
    fn the_same_limit_again_forgets_nothing_and_another_begins_anew() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.set(Some(1));
        pace.goes(now);
        pace.set(Some(1));
        assert_eq!(pace.admits(now), Err(now + Duration::from_secs(1)));
        pace.set(None);
        assert_eq!(pace.admits(now), Ok(()));
    }
}
