//! The clock of the file: steady, and never behind what it holds already.

use std::time::Duration;

use domain::SteadyClock;
use time::OffsetDateTime;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(SteadyClock);

impl Clock {
    /// Begins now, but not before `at_least` (unix ms).
    pub(super) fn start(at_least: i64) -> Self {
        let at_least = i128::from(at_least) * 1_000_000;
        let at_least = OffsetDateTime::from_unix_timestamp_nanos(at_least);
        let now = OffsetDateTime::now_utc();
        Self(SteadyClock::start_at(at_least.map_or(now, |at_least| now.max(at_least))))
    }

    /// Now, in unix ms.
    pub(super) fn now(&self) -> i64 {
        unix_millis(self.0.now())
    }

    /// How long it is until `at`.
    pub(super) fn until(&self, at: i64) -> Duration {
        Duration::from_millis(u64::try_from(at.saturating_sub(self.now())).unwrap_or(0))
    }
}

/// In whole milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// In whole milliseconds since 1970.
pub(super) fn unix_millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}
