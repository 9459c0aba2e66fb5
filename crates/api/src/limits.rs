//! How much a user may do in a minute.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::UserId;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use time::OffsetDateTime;

use crate::ApiConfig;
use crate::error::ApiError;

type Limiter<K> =
    RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// Tests of webhooks by one user in a minute: each is a request to anywhere.
const TESTS: u32 = 10;

/// Challenges that one user has sent in a minute: each is a request to anywhere.
const CHALLENGES: u32 = 10;

/// Challenges to one host in a minute, whoever has them sent. More than one user's, so that nobody
/// can keep others from being verified.
const CHALLENGES_OF_HOST: u32 = 60;

/// Requests between two rounds of forgetting those at rest.
const ROUND: u32 = 10_000;

/// The limits; none where they are switched off.
pub(crate) struct RateLimits {
    requests: Option<Limit<UserId>>,
    tests: Option<Limit<UserId>>,
    redeliveries: Option<Limit<UserId>>,
    challenges: Option<Limit<UserId>>,
    challenges_of_host: Option<Limit<String>>,
}

struct Limit<K: Hash + Eq + Clone> {
    per_minute: NonZeroU32,
    limiter: Limiter<K>,
    counted: AtomicU32,
}

/// What a user may still do: the `X-RateLimit-` headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remaining {
    limit: u32,
    left: u32,
    reset_at: i64,
    /// How long to wait, in seconds, when nothing is left.
    wait: Option<u64>,
}

impl Remaining {
    /// The three headers.
    pub(crate) fn headers(&self) -> [(&'static str, i64); 3] {
        [
            ("x-ratelimit-limit", self.limit.into()),
            ("x-ratelimit-remaining", self.left.into()),
            ("x-ratelimit-reset", self.reset_at),
        ]
    }

    /// # Errors
    /// [`ApiError::TooManyRequests`] with the seconds to wait, when the limit was reached.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        self.wait.map_or(Ok(()), |seconds| Err(ApiError::TooManyRequests(seconds)))
    }
}

impl RateLimits {
    /// The limits of the settings. `rate_limit` 0 switches all of them off.
    pub(crate) fn new(config: &ApiConfig) -> Self {
        fn limit<K: Hash + Eq + Clone>(config: &ApiConfig, per_minute: u32) -> Option<Limit<K>> {
            NonZeroU32::new(per_minute).filter(|_| config.rate_limit > 0).map(Limit::new)
        }
        Self {
            requests: limit(config, config.rate_limit),
            tests: limit(config, TESTS),
            redeliveries: limit(config, config.redelivery_limit),
            challenges: limit(config, CHALLENGES),
            challenges_of_host: limit(config, CHALLENGES_OF_HOST),
        }
    }

    /// Counts a request of `user`.
    pub(crate) fn count(&self, user: &UserId) -> Option<Remaining> {
        self.requests.as_ref().map(|limit| limit.count(user))
    }

    /// Counts a test by `user`.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] with the seconds to wait.
    pub(crate) fn count_test(&self, user: &UserId) -> Result<(), ApiError> {
        self.tests.as_ref().map_or(Ok(()), |limit| limit.count(user).check())
    }

    /// Counts a redelivery, or a job of many, that `user` asks for.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] with the seconds to wait.
    pub(crate) fn count_redelivery(&self, user: &UserId) -> Result<(), ApiError> {
        self.redeliveries.as_ref().map_or(Ok(()), |limit| limit.count(user).check())
    }

    /// Counts a challenge to the endpoint at `host` that `user` has sent.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] with the seconds to wait.
    pub(crate) fn count_challenge(&self, user: &UserId, host: String) -> Result<(), ApiError> {
        self.challenges.as_ref().map_or(Ok(()), |limit| limit.count(user).check())?;
        self.challenges_of_host.as_ref().map_or(Ok(()), |limit| limit.count(&host).check())
    }
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(per_minute: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(per_minute)).with_middleware();
        Self { per_minute, limiter, counted: AtomicU32::new(0) }
    }

    fn count(&self, key: &K) -> Remaining {
        if self.counted.fetch_add(1, Ordering::Relaxed) % ROUND == ROUND - 1 {
            self.limiter.retain_recent();
        }
        let limit = self.per_minute.get();
        let (left, wait) = match self.limiter.check_key(key) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => (0, Some(until.wait_time_from(DefaultClock::default().now()))),
        };
        let refill = Duration::from_secs(60) / limit * (limit - left);
        Remaining {
            limit,
            left,
            reset_at: (OffsetDateTime::now_utc() + refill).unix_timestamp() + 1,
            // Rounded up: whoever waits as long as we say gets through.
            wait: wait.map(|wait| wait.as_secs() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn limits(rate_limit: u32) -> RateLimits {
        RateLimits::new(&ApiConfig { rate_limit, ..ApiConfig::default() })
    }

    #[test]
    fn a_user_gets_as_many_as_are_allowed_and_others_are_not_touched() {
        let limits = limits(3);
        for left in [2, 1, 0] {
            let remaining = limits.count(&user("a")).unwrap();
            assert!(remaining.check().is_ok());
            assert_eq!(remaining.left, left);
        }
        let refused = limits.count(&user("a")).unwrap();
        let Err(ApiError::TooManyRequests(wait)) = refused.check() else { panic!("{refused:?}") };
        assert!((1..=21).contains(&wait), "{wait}");
        assert!(limits.count(&user("b")).unwrap().check().is_ok());
    }

    #[test]
    fn zero_switches_every_limit_off() {
        let limits = limits(0);
        for _ in 0..1_000 {
            assert!(limits.count(&user("a")).is_none());
            assert!(limits.count_test(&user("a")).is_ok());
            assert!(limits.count_redelivery(&user("a")).is_ok());
            assert!(limits.count_challenge(&user("a"), "h:443".to_owned()).is_ok());
        }
    }

    #[test]
    fn challenges_are_limited_for_a_user_and_for_a_host() {
        let limits = limits(100);
        let ask = |name: &str, host: &str| limits.count_challenge(&user(name), host.to_owned());
        assert!((0..10).all(|_| ask("a", "h:443").is_ok()));
        assert!(ask("a", "other:443").is_err(), "the user's");
        for name in ["b", "c", "d", "e", "f"] {
            assert!((0..10).all(|_| ask(name, "h:443").is_ok()), "{name}");
        }
        assert!(ask("g", "h:443").is_err(), "the host's");
        assert!(ask("g", "other:443").is_ok());
    }
}
