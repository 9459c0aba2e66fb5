//! How often a user comes back: a resume looks through what is kept of them, on whichever of
//! their connections, and a connection that is made anew begins with a full allowance of messages.

use std::time::Instant;

use ahash::RandomState;
use dashmap::DashMap;
use domain::UserId;

use crate::allowance::{BURST, Bucket};
use crate::config::GatewayConfig;

/// The users who resumed lately.
#[derive(Default)]
pub(crate) struct Returns {
    users: DashMap<UserId, Pace, RandomState>,
}

struct Pace {
    bucket: Bucket,
    per_second: f32,
    most: f32,
}

impl Pace {
    fn of(limits: &GatewayConfig, now: Instant) -> Self {
        let per_second = limits.resumes_per_second.max(1) as f32;
        // All of a user's connections come back at once when a gateway stops.
        let most = (per_second * BURST).max(2.0 * limits.connections_per_user as f32);
        Self { bucket: Bucket::full(most, now), per_second, most }
    }

    fn fill(&mut self, now: Instant) {
        self.bucket.fill(self.per_second, self.most, now);
    }
}

impl Returns {
    /// Whether `user` may resume once more, which is counted.
    pub(crate) fn take(&self, user: &UserId, limits: &GatewayConfig) -> bool {
        self.take_at(user, limits, Instant::now())
    }

    fn take_at(&self, user: &UserId, limits: &GatewayConfig, now: Instant) -> bool {
        let mut pace = self.users.entry(user.clone()).or_insert_with(|| Pace::of(limits, now));
        pace.fill(now);
        pace.bucket.take()
    }

    /// Forgets users who did not resume for so long that they may do all of it again.
    pub(crate) fn forget_rested(&self, now: Instant) {
        self.users.retain(|_, pace| {
            pace.fill(now);
            !pace.bucket.is_full(pace.most)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_user_resumes_in_a_burst_then_by_the_second_and_is_then_forgotten() {
        let limits = GatewayConfig { connections_per_user: 3, ..GatewayConfig::default() };
        let (returns, now) = (Returns::default(), Instant::now());
        let (ann, bob) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        let taken = |user, at| (0..100).filter(|_| returns.take_at(user, &limits, at)).count();
        assert_eq!(taken(&ann, now), 40);
        assert!(returns.take_at(&bob, &limits, now), "another user has their own");
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(&ann, later), 10);
        returns.forget_rested(later);
        assert_eq!(returns.users.len(), 1, "bob has rested");
        returns.forget_rested(later + Duration::from_secs(4));
        assert!(returns.users.is_empty());
    }

    #[test]
    fn all_connections_of_a_user_may_resume_at_once() {
        let limits = GatewayConfig { connections_per_user: 500, ..GatewayConfig::default() };
        let (returns, now) = (Returns::default(), Instant::now());
        let ann = "ann".parse().unwrap();
        assert!((0..1_000).all(|_| returns.take_at(&ann, &limits, now)));
        assert!(!returns.take_at(&ann, &limits, now));
    }
}
