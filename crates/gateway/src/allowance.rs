//! How much a client may say.

use std::time::Instant;

/// Refusals before a client is sent away.
const WARNINGS: u32 = 3;

/// Seconds' worth of messages that may come at once.
pub(crate) const BURST: f32 = 4.0;

/// A bucket that fills with time: so many a second, and no more than `most` at once.
pub(crate) struct Bucket {
    left: f32,
    filled_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(most: f32, now: Instant) -> Self {
        Self { left: most, filled_at: now }
    }

    /// What has flowed in until now.
    pub(crate) fn fill(&mut self, per_second: f32, most: f32, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f32();
        self.left = (self.left + seconds * per_second).min(most);
        self.filled_at = now;
    }

    /// Whether nothing is missing.
    pub(crate) fn is_full(&self, most: f32) -> bool {
        self.left >= most
    }

    /// Takes one out, where there is one.
    pub(crate) fn take(&mut self) -> bool {
        let there = self.left >= 1.0;
        self.left -= f32::from(u8::from(there));
        there
    }
}

/// Messages that a client may still send.
pub(crate) struct Allowance {
    bucket: Bucket,
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
        Self { bucket: Bucket::full(Self::most(per_second), now), warnings: 0 }
    }

    fn most(per_second: u32) -> f32 {
        per_second.max(1) as f32 * BURST
    }

    /// Takes one message out of the bucket. Once it is full again, refusals are forgotten.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> Verdict {
        let most = Self::most(per_second);
        self.bucket.fill(per_second.max(1) as f32, most, now);
        if self.bucket.is_full(most) {
            self.warnings = 0;
        }
        if self.bucket.take() {
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
