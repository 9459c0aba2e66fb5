//! How much a client may say.

use std::time::Instant;

/// Refusals before a client is sent away.
const WARNINGS: u32 = 3;

/// Seconds' worth of messages that may come at once.
const BURST: f32 = 4.0;

/// Messages that a client may still send: a bucket that fills with time.
pub(crate) struct Allowance {
    left: f32,
    filled_at: Instant,
    warnings: u32,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Heard,
    /// Not heard; the client is told.
    Refused,
    /// Too often refused.
    Enough,
}

impl Allowance {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { left: Self::most(per_second), filled_at: now, warnings: 0 }
    }

    fn most(per_second: u32) -> f32 {
        per_second.max(1) as f32 * BURST
    }

    /// Takes one message out of the bucket. Once it is full again, refusals are forgotten.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> Verdict {
        let most = Self::most(per_second);
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f32();
        self.left = (self.left + seconds * per_second.max(1) as f32).min(most);
        self.filled_at = now;
        if self.left >= most {
            self.warnings = 0;
        }
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Verdict::Heard;
        }
        self.warnings += 1;
        if self.warnings > WARNINGS { Verdict::Enough } else { Verdict::Refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_of_four_seconds_is_heard_then_refused_then_ends() {
        let now = Instant::now();
        let mut allowance = Allowance::new(10, now);
        assert!((0..40).all(|_| allowance.take(10, now) == Verdict::Heard));
        assert!((0..3).all(|_| allowance.take(10, now) == Verdict::Refused));
        assert_eq!(allowance.take(10, now), Verdict::Enough);
    }

    #[test]
    fn the_bucket_fills_and_forgives() {
        let now = Instant::now();
        let mut allowance = Allowance::new(10, now);
        while allowance.take(10, now) == Verdict::Heard {}
        let later = now + Duration::from_secs(1);
        assert!((0..10).all(|_| allowance.take(10, later) == Verdict::Heard));
        assert_eq!(allowance.take(10, later), Verdict::Refused);
        let rested = later + Duration::from_secs(5);
        assert!((0..40).all(|_| allowance.take(10, rested) == Verdict::Heard));
        assert!((0..3).all(|_| allowance.take(10, rested) == Verdict::Refused));
    }
}
