//! How many requests a user may make in a minute.

use std::num::NonZeroU32;
use std::time::Duration;

use domain::UserId;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use time::OffsetDateTime;

use crate::error::ApiError;

type Limiter =
    RateLimiter<UserId, DefaultKeyedStateStore<UserId>, DefaultClock, StateInformationMiddleware>;

/// Users remembered before those at rest are forgotten.
const REMEMBERED: usize = 50_000;

/// The limit of each user; none when it is switched off.
pub(crate) struct RateLimits(Option<(u32, Limiter)>);

/// What a user may still do: the `X-RateLimit-` headers.
#[derive(Clone, Copy)]
pub(crate) struct Remaining {
    limit: u32,
    left: u32,
    reset_at: i64,
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
}

impl RateLimits {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self(NonZeroU32::new(per_minute).map(|limit| {
            let limiter = RateLimiter::keyed(Quota::per_minute(limit));
            (per_minute, limiter.with_middleware())
        }))
    }

    /// Counts a request of `user`.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] with the seconds to wait.
    pub(crate) fn count(&self, user: &UserId) -> Result<Option<Remaining>, ApiError> {
        let Some((limit, limiter)) = &self.0 else {
            return Ok(None);
        };
        if limiter.len() > REMEMBERED {
            limiter.retain_recent();
        }
        match limiter.check_key(user) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let refill = Duration::from_secs(60) / *limit * (*limit - left);
                let reset_at = OffsetDateTime::now_utc() + refill;
                Ok(Some(Remaining { limit: *limit, left, reset_at: reset_at.unix_timestamp() + 1 }))
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(ApiError::TooManyRequests(wait.as_secs() + 1))
            }
        }
    }
}
