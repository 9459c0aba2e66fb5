//! Who was signed out: their connections are closed, and the tokens that they had then open no
//! others. Kept in memory for a day, longer than access tokens live.

use std::collections::VecDeque;

use access::Access;
use ahash::HashMap;
use time::{Duration, OffsetDateTime};

/// How long a sign-out is remembered.
const MEMORY: Duration = Duration::hours(24);

/// Sign-outs that are remembered, at most; the oldest is forgotten first.
const MOST: usize = 50_000;

/// What was signed out: a user, or one token of theirs.
type Key = (String, Option<String>);

/// The sign-outs of the last day.
#[derive(Default)]
pub(crate) struct SignedOut {
    at: HashMap<Key, OffsetDateTime>,
    order: VecDeque<(OffsetDateTime, Key)>,
}

impl SignedOut {
    /// Notes that `user`, or only their token `token_id`, was signed out.
    pub(crate) fn note(&mut self, user: String, token_id: Option<String>, now: OffsetDateTime) {
        let key = (user, token_id);
        self.at.insert(key.clone(), now);
        self.order.push_back((now, key));
        while let Some((at, _)) = self.order.front()
            && (self.order.len() > MOST || now - *at > MEMORY)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((at, key)) = self.order.pop_front()
            && self.at.get(&key) == Some(&at)
        {
            self.at.remove(&key);
        }
    }

    /// Whether the token that gave `access` was signed out. One without `iat` may be from before.
    pub(crate) fn has(&self, access: &Access) -> bool {
        if self.at.is_empty() {
            return false;
        }
        let user = access.user.as_str().to_owned();
        let at = self.at.get(&(user.clone(), None));
        at.is_some_and(|at| access.issued_at.is_none_or(|issued| issued <= *at))
            || access.token_id.clone().is_some_and(|id| self.at.contains_key(&(user, Some(id))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::{AuthConfig, Verifier};

    const NOW: OffsetDateTime = time::macros::datetime!(2026-02-02 12:00 UTC);

    fn access(user: &str, issued: OffsetDateTime) -> Access {
        let config = AuthConfig {
            jwt_secret: "a secret of at least thirty-two bytes".into(),
            ..AuthConfig::default()
        };
        let user = user.parse().unwrap();
        let token =
            access::issue(&config.jwt_secret, &user, &["user"], issued, NOW + Duration::HOUR);
        Verifier::new(&config).unwrap().verify(&token, NOW).unwrap()
    }

    #[test]
    fn tokens_from_before_a_sign_out_are_known_and_later_ones_are_not() {
        let mut out = SignedOut::default();
        out.note("ann".into(), None, NOW - Duration::MINUTE);
        assert!(out.has(&access("ann", NOW - Duration::HOUR)));
        assert!(out.has(&Access { issued_at: None, ..access("ann", NOW) }));
        assert!(!out.has(&access("ann", NOW)) && !out.has(&access("bob", NOW - Duration::HOUR)));
    }

    #[test]
    fn one_token_is_signed_out_alone() {
        let mut out = SignedOut::default();
        out.note("ann".into(), Some("t1".into()), NOW);
        let with = |id: &str| Access { token_id: Some(id.into()), ..access("ann", NOW) };
        assert!(out.has(&with("t1")) && !out.has(&with("t2")));
        assert!(!out.has(&Access { token_id: Some("t1".into()), ..access("bob", NOW) }));
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten() {
        let mut out = SignedOut::default();
        out.note("ann".into(), None, NOW - Duration::days(2));
        for number in 0..MOST + 3 {
            out.note(format!("u{number}"), None, NOW);
        }
        assert_eq!((out.at.len(), out.order.len()), (MOST, MOST));
        assert!(!out.at.contains_key(&("ann".into(), None)));
    }
}
