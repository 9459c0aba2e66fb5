//! Whether several users' events come in, and for how long they have waited for one user's endpoints.
//! Who comes alone holds nobody up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A user whose events alone came for so long is alone.
const ALONE_AFTER: Duration = Duration::from_secs(1);

/// Whose event came last, and since when no other's did. Two numbers that are read and written one
/// after the other: what they say may be an event old.
#[derive(Debug)]
pub(crate) struct Company {
    began: Instant,
    last: AtomicUsize,
    /// Milliseconds after `began`; 0 when no other's ever did.
    since: AtomicU64,
}

impl Company {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), last: AtomicUsize::new(0), since: AtomicU64::new(0) }
    }

    /// An event of `user` has come.
    pub(crate) fn comes(&self, user: usize, now: Instant) {
        let last = self.last.load(Ordering::Relaxed);
        if last == user {
            return;
        }
        self.last.store(user, Ordering::Relaxed);
        // Zero is nobody.
        if last != 0 {
            self.since.store(self.millis(now).max(1), Ordering::Relaxed);
        }
    }

    /// Whether no other user's has come for a while.
    pub(crate) fn is_alone(&self, user: usize, now: Instant) -> bool {
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        let never = since.is_zero();
        self.last.load(Ordering::Relaxed) == user
            && (never || now.duration_since(self.began) >= since + ALONE_AFTER)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

/// A time in which others have waited is forgotten so long after it began.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// For how long others have waited lately.
#[derive(Debug, Default)]
pub(crate) struct HeldBack(Mutex<Waited>);

#[derive(Debug, Default)]
struct Waited {
    since: Option<Instant>,
    time: Duration,
}

impl HeldBack {
    /// Whether it is less than `most`.
    pub(crate) fn is_less(&self, most: Duration, now: Instant) -> bool {
        self.waited(now).time < most
    }

    /// They have waited for so long more.
    pub(crate) fn add(&self, time: Duration, now: Instant) {
        let mut waited = self.waited(now);
        waited.since.get_or_insert(now);
        waited.time += time;
    }

    fn waited(&self, now: Instant) -> MutexGuard<'_, Waited> {
        let mut waited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waited.since.is_some_and(|since| now.duration_since(since) >= FORGOTTEN_AFTER) {
            *waited = Waited::default();
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_waited_is_forgotten_after_a_while() {
        let (held, now, most) = (HeldBack::default(), Instant::now(), Duration::from_millis(100));
        held.add(most / 2, now);
        assert!(held.is_less(most, now));
        held.add(most / 2, now + most);
        assert!(!held.is_less(most, now + Duration::from_secs(9)));
        assert!(held.is_less(most, now + FORGOTTEN_AFTER));
    }

    #[test]
    fn one_is_alone_a_second_after_the_last_other() {
        let company = Company::new();
        let at = |millis| company.began + Duration::from_millis(millis);
        company.comes(1, at(0));
        assert!(company.is_alone(1, at(0)), "nobody else has ever come");
        company.comes(2, at(100));
        company.comes(2, at(900));
        assert!(!company.is_alone(2, at(1_000)));
        assert!(company.is_alone(2, at(1_102)));
        assert!(!company.is_alone(1, at(1_102)));
        company.comes(1, at(1_200));
        company.comes(2, at(1_201));
        assert!(!company.is_alone(2, at(1_300)));
    }
}
