//! When something is due, whatever becomes of the system's clock.

use std::time::Instant;

use time::OffsetDateTime;

/// Time that never goes back and never jumps: the system's clock when this one was started, and
/// how long that is ago. What is planned and looked at by it comes neither early nor late when the
/// system's clock is set. What users read is written by the system's clock.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    began: Instant,
    began_at: OffsetDateTime,
}

impl SteadyClock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at(OffsetDateTime::now_utc())
    }

    /// Begins at `began_at`.
    #[must_use]
    pub fn start_at(began_at: OffsetDateTime) -> Self {
        Self { began: Instant::now(), began_at }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.began_at + self.began.elapsed()
    }
}
