//! Who was signed out: the tokens that they had then let nobody in any more, at any service.
//!
//! The list is part of the [`crate::Verifier`], so that no service can check a token without it,
//! and it lets nobody in before it was read once. Services with a store read it from there; the
//! gateway, which has none, is told by them. What they keep of it is bounded: where that bound is
//! met, more tokens are refused than were asked for, never fewer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::UserId;
use time::{Duration, OffsetDateTime};

use crate::verifier::LEEWAY;

/// Users that are told apart, at most.
const USERS: usize = 200_000;

/// Tokens of one user that are told apart, at most.
const TOKENS: usize = 64;

/// Sign-outs are kept no longer, whatever the settings say.
const LONGEST: Duration = Duration::days(3_650);

/// A user, or one token of theirs, was signed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOut {
    /// Whose tokens.
    pub user: UserId,
    /// Only this one (`jti`); all that they had when `None`.
    pub token_id: Option<String>,
    /// When, by the clock of the store.
    pub at: OffsetDateTime,
}

impl SignOut {
    /// From which `iat` on, in whole seconds, tokens of the user are taken again after they were
    /// signed out at `at`: clocks may differ by 30 s, so that a token which says that it was
    /// issued up to then may be from before.
    #[must_use]
    pub fn tokens_from(at: OffsetDateTime) -> OffsetDateTime {
        let last = (at + LEEWAY).unix_timestamp();
        OffsetDateTime::from_unix_timestamp(last + 1).unwrap_or(at + LEEWAY)
    }
}

/// The sign-outs that count. Cloning shares them.
#[derive(Clone, Debug)]
pub struct SignOuts(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How long one counts.
    life: Duration,
    kept: RwLock<Kept>,
    /// Whether there is anything in it: most checks take no lock.
    any: AtomicBool,
    /// Whether it was read once.
    known: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    users: HashMap<UserId, OfUser>,
    /// Everybody's tokens from before: where there were too many users to tell apart.
    everybody: Option<OffsetDateTime>,
}

#[derive(Debug, Default)]
struct OfUser {
    all: Option<OffsetDateTime>,
    /// In the order in which they came.
    tokens: Vec<(String, OffsetDateTime)>,
}

impl SignOuts {
    /// An empty list, of which nothing is known yet, of sign-outs that count for as long as tokens
    /// live.
    #[must_use]
    pub fn new(longest_token_life: std::time::Duration) -> Self {
        let life = Duration::try_from(longest_token_life).unwrap_or(LONGEST).min(LONGEST);
        Self(Arc::new(Shared {
            // A token may be from a little later than the sign-out, and is good a little longer.
            life: life + LEEWAY * 2,
            kept: RwLock::default(),
            any: AtomicBool::new(false),
            known: AtomicBool::new(false),
        }))
    }

    /// The sign-outs before this time do not count any more: the tokens of then have ended.
    #[must_use]
    pub fn oldest(&self, now: OffsetDateTime) -> OffsetDateTime {
        now - self.0.life
    }

    /// Notes a sign-out. Whether it refuses tokens that were not refused before.
    pub fn note(&self, sign_out: &SignOut) -> bool {
        let mut kept = self.write();
        let is_new = kept.users.entry(sign_out.user.clone()).or_default().note(sign_out);
        if is_new {
            kept.keep_to(USERS);
            self.0.any.store(true, Ordering::Release);
        }
        is_new
    }

    /// All that was kept is noted: from now on tokens are let in.
    pub fn set_known(&self) {
        self.0.known.store(true, Ordering::Release);
    }

    /// Whether all that was kept was noted once.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0.known.load(Ordering::Acquire)
    }

    /// Notes that all tokens from before `at` are refused, whose ever they are.
    pub fn note_everybody(&self, at: OffsetDateTime) {
        let mut kept = self.write();
        kept.everybody = kept.everybody.max(Some(at));
        self.0.any.store(true, Ordering::Release);
    }

    /// From before when the tokens of all users are refused, where there were too many sign-outs
    /// to tell users apart.
    #[must_use]
    pub fn everybody(&self) -> Option<OffsetDateTime> {
        self.read().everybody
    }

    /// Whether a token of `user` with these claims was signed out. One without `iat` may be from
    /// before.
    #[must_use]
    pub fn refuse(
        &self,
        user: &UserId,
        issued_at: Option<OffsetDateTime>,
        token_id: Option<&str>,
    ) -> bool {
        self.0.any.load(Ordering::Acquire) && self.read().refuse(user, issued_at, token_id)
    }

    /// Every one at or after `since`; all of them when `None`.
    #[must_use]
    pub fn list(&self, since: Option<OffsetDateTime>) -> Vec<SignOut> {
        let kept = self.read();
        let all = kept.users.iter().flat_map(|(user, of)| of.list(user));
        all.filter(|sign_out| since.is_none_or(|since| sign_out.at >= since)).collect()
    }

    /// Forgets what does not count any more at `now`.
    pub fn forget_old(&self, now: OffsetDateTime) {
        let before = self.oldest(now);
        let mut kept = self.write();
        kept.everybody = kept.everybody.filter(|at| *at >= before);
        kept.users.retain(|_, of| {
            of.all = of.all.filter(|at| *at >= before);
            of.tokens.retain(|(_, at)| *at >= before);
            of.all.is_some() || !of.tokens.is_empty()
        });
        let any = kept.everybody.is_some() || !kept.users.is_empty();
        self.0.any.store(any, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        // Nothing in there can panic halfway.
        self.0.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Kept> {
        self.0.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn refuse(
        &self,
        user: &UserId,
        issued: Option<OffsetDateTime>,
        token_id: Option<&str>,
    ) -> bool {
        let before = |at: OffsetDateTime| issued.is_none_or(|issued| issued <= at + LEEWAY);
        if self.everybody.is_some_and(before) {
            return true;
        }
        self.users.get(user).is_some_and(|of| {
            of.all.is_some_and(before)
                || token_id.is_some_and(|id| of.tokens.iter().any(|(known, _)| known == id))
        })
    }

    /// Where there are more users than `most`, a sixteenth of them, those signed out first, are
    /// told apart no more: everybody's tokens from before the last of those are refused instead.
    fn keep_to(&mut self, most: usize) {
        if self.users.len() <= most {
            return;
        }
        let mut ends: Vec<OffsetDateTime> = self.users.values().filter_map(OfUser::last).collect();
        let (_, end, _) = ends.select_nth_unstable(most / 16);
        let end = *end;
        self.users.retain(|_, of| of.last().is_some_and(|last| last > end));
        self.everybody = self.everybody.max(Some(end));
        tracing::warn!(
            "more than {most} users are signed out: the tokens of all users from before {end} are \
             refused"
        );
    }
}

impl OfUser {
    fn note(&mut self, sign_out: &SignOut) -> bool {
        let Some(id) = &sign_out.token_id else {
            let is_new = self.all.is_none_or(|at| at < sign_out.at);
            self.all = self.all.max(Some(sign_out.at));
            return is_new;
        };
        if self.tokens.iter().any(|(known, _)| known == id) {
            return false;
        }
        self.tokens.push((id.clone(), sign_out.at));
        if self.tokens.len() > TOKENS {
            let (_, at) = self.tokens.remove(0);
            self.all = self.all.max(Some(at));
        }
        true
    }

    fn last(&self) -> Option<OffsetDateTime> {
        self.tokens.iter().map(|(_, at)| *at).max().max(self.all)
    }

    fn list(&self, user: &UserId) -> impl Iterator<Item = SignOut> {
        let of = |token_id, at| SignOut { user: user.clone(), token_id, at };
        let tokens = self.tokens.iter().map(move |(id, at)| of(Some(id.clone()), *at));
        self.all.map(|at| of(None, at)).into_iter().chain(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-02-02 12:00 UTC);

    fn day() -> SignOuts {
        SignOuts::new(std::time::Duration::from_secs(24 * 3_600))
    }

    fn sign_out(user: &str, token_id: Option<&str>, at: OffsetDateTime) -> SignOut {
        SignOut { user: user.parse().unwrap(), token_id: token_id.map(str::to_owned), at }
    }

    /// Whether a token is refused that was issued `seconds` from now.
    fn refused(out: &SignOuts, user: &str, seconds: i64, id: Option<&str>) -> bool {
        out.refuse(&user.parse().unwrap(), Some(NOW + Duration::seconds(seconds)), id)
    }

    #[test]
    fn tokens_from_before_a_sign_out_are_refused_and_later_ones_are_not() {
        let out = day();
        assert!(out.note(&sign_out("ann", None, NOW)));
        assert!(!out.note(&sign_out("ann", None, NOW - Duration::MINUTE)), "it is over already");
        for before in [-3_600, 0, 20, 30] {
            assert!(refused(&out, "ann", before, None), "{before}");
        }
        assert!(!refused(&out, "ann", 31, None));
        assert_eq!(SignOut::tokens_from(NOW), NOW + Duration::seconds(31));
        assert!(out.refuse(&"ann".parse().unwrap(), None, None), "it does not say from when it is");
        assert!(!out.refuse(&"bob".parse().unwrap(), None, None));
    }

    #[test]
    fn one_token_is_signed_out_alone_whenever_it_was_issued() {
        let out = day();
        out.note(&sign_out("ann", Some("t1"), NOW));
        assert!(refused(&out, "ann", 60, Some("t1")));
        assert!(!refused(&out, "ann", -60, Some("t2")) && !refused(&out, "bob", -60, Some("t1")));
    }

    #[test]
    fn what_is_old_is_forgotten_and_the_rest_is_listed() {
        let out = day();
        out.note(&sign_out("ann", None, NOW - Duration::days(2)));
        out.note(&sign_out("ann", Some("t1"), NOW));
        out.note(&sign_out("bob", None, NOW - Duration::days(2)));
        out.forget_old(NOW);
        assert_eq!(out.list(None), [sign_out("ann", Some("t1"), NOW)]);
        assert!(out.list(Some(NOW + Duration::SECOND)).is_empty());
        assert!(!refused(&out, "bob", -3 * 86_400, None));
        out.forget_old(NOW + Duration::days(2));
        assert!(!out.0.any.load(Ordering::Acquire) && out.list(None).is_empty());
    }

    #[test]
    fn where_there_are_too_many_more_is_refused_and_never_less() {
        let out = day();
        let at = |n: usize| NOW + Duration::seconds(i64::try_from(n).unwrap());
        for n in 0..=TOKENS {
            out.note(&sign_out("ann", Some(&format!("t{n}")), at(n)));
        }
        for n in 0..=TOKENS {
            assert!(refused(&out, "ann", -3_600, Some(&format!("t{n}"))), "{n}");
        }
        assert!(!refused(&out, "ann", 31, Some("later")));

        let mut kept = Kept::default();
        let most = 320;
        for n in 0..=most {
            let sign_out = sign_out(&format!("u{n}"), None, at(n));
            kept.users.entry(sign_out.user.clone()).or_default().note(&sign_out);
        }
        kept.keep_to(most);
        assert_eq!(kept.users.len(), most - most / 16);
        for n in 0..=most {
            let user = format!("u{n}").parse().unwrap();
            assert!(kept.refuse(&user, Some(at(n)), None), "{n}");
        }
        let anybody = "nobody".parse().unwrap();
        assert!(kept.refuse(&anybody, Some(at(most / 16)), None));
        assert!(!kept.refuse(&anybody, Some(at(most)), None));
    }
}
