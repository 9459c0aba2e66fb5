//! Proof that an endpoint wants to be told: it is asked for what only its owner can compute.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

use crate::signature::keyed_mac;
use crate::{Secret, WebhookId};

/// A question to one endpoint, whose answer needs the webhook's secret. It lives for one request
/// and its answer: whatever is answered later, or elsewhere, proves nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge(String);

/// What the requests say they are, in `X-Sentimatrix-Event` and in the body's `type`.
pub const VERIFICATION: &str = "endpoint.verification";

#[derive(Deserialize)]
struct Answer {
    response: String,
}

impl Challenge {
    /// A challenge that nobody can guess: `chl_` and 64 hexadecimal digits.
    #[must_use]
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(format!("chl_{}", hex::encode(random)))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The body of the request that asks the endpoint of `webhook`.
    #[must_use]
    pub fn body(&self, webhook: WebhookId) -> Bytes {
        let challenge = &self.0;
        format!(r#"{{"type":"{VERIFICATION}","challenge":"{challenge}","webhook_id":"{webhook}"}}"#)
            .into()
    }

    /// Whether `answer`, the body of an endpoint's answer, holds `response` with the lower-case
    /// hexadecimal HMAC-SHA256 of the challenge with `secret` (`whsec_` included). Compared in
    /// constant time.
    #[must_use]
    pub fn is_answered_by(&self, answer: &[u8], secret: &Secret) -> bool {
        let Ok(Answer { response }) = serde_json::from_slice(answer) else {
            return false;
        };
        crate::signature::is_lower_hex_mac(keyed_mac(secret, self.0.as_bytes()), &response)
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge() -> Challenge {
        Challenge::from_random([0xab; 32])
    }

    /// `printf %s chl_abab… | openssl dgst -sha256 -hmac my_webhook_secret`
    const RIGHT: &str = "aaf99c85fe6ba3efda7b67affbddaabde72f7af8f1e1b69aafdacb0591d50eae";

    #[test]
    fn the_answer_is_the_hmac_of_the_challenge_with_the_secret() {
        let secret = Secret::new("my_webhook_secret");
        let answers = |response: &str| {
            let body = format!(r#"{{"response":"{response}","more":1}}"#);
            challenge().is_answered_by(body.as_bytes(), &secret)
        };
        assert!(answers(RIGHT));
        assert!(!answers(&RIGHT.to_uppercase()), "one spelling");
        assert!(!answers(&RIGHT[..62]));
        assert!(!answers(challenge().as_str()), "an echo proves nothing");
        let other = Secret::new("another_secret");
        assert!(!challenge().is_answered_by(RIGHT.as_bytes(), &other));
    }

    #[test]
    fn what_is_sent_holds_no_answer() {
        let secret = Secret::new("my_webhook_secret");
        let body = challenge().body(WebhookId::generate());
        assert!(!challenge().is_answered_by(&body, &secret), "an echo of the body");
        for nothing in ["", "OK", "{}", r#"{"response":null}"#, r#"{"response":""}"#, "[]"] {
            assert!(!challenge().is_answered_by(nothing.as_bytes(), &secret), "{nothing}");
        }
    }
}
