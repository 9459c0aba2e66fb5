//! Time that never goes back and never jumps: the system's clock when the file was opened, and
//! how long that is ago. A clock that is set makes no delivery early and none a step late.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
    began_at: i64,
}

impl Clock {
    /// Begins now, but not before `at_least` (unix ms).
    pub(super) fn start(at_least: i64) -> Self {
        let began_at = unix_millis(OffsetDateTime::now_utc()).max(at_least);
        Self { began: Instant::now(), began_at }
    }

    /// Now, in unix ms.
    pub(super) fn now(&self) -> i64 {
        self.began_at.saturating_add(millis(self.began.elapsed()))
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
