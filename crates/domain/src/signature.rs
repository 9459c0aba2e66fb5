//! Signatures: the specification's `sha256=…`, and `v1,…` or `v1a,…` of Standard Webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Secret, SigningKey};

type HmacSha256 = Hmac<Sha256>;

/// What signatures by Ed25519 begin with in `webhook-signature`.
pub(crate) const V1A: &str = "v1a,";

/// What Standard Webhooks signs: `id.timestamp.body`, the time in unix seconds.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) id: &'a str,
    pub(crate) timestamp: i64,
    pub(crate) body: &'a [u8],
}

impl Signed<'_> {
    /// All of it in one piece.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut whole = format!("{}.{}.", self.id, self.timestamp).into_bytes();
        whole.extend_from_slice(self.body);
        whole
    }
}

fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// The MAC of `text` with `secret` as it is shown.
pub(crate) fn keyed_mac(secret: &Secret, text: &[u8]) -> HmacSha256 {
    let mut mac = keyed(secret.expose().as_bytes());
    mac.update(text);
    mac
}

/// Whether `digits` are the lower-case hexadecimal digits of `mac`, compared in constant time.
pub(crate) fn is_lower_hex_mac(mac: HmacSha256, digits: &str) -> bool {
    let lower = !digits.bytes().any(|b| b.is_ascii_uppercase());
    lower && hex::decode(digits).is_ok_and(|bytes| mac.verify_slice(&bytes).is_ok())
}

/// Signs with one secret. The keys are expanded once, so that signing a body costs its hash
/// and nothing else; keep it beside the webhook.
#[derive(Clone)]
pub struct Signer {
    specification: HmacSha256,
    standard: Standard,
}

/// How `webhook-signature` is made.
#[derive(Clone)]
enum Standard {
    /// `v1`: with the secret, which the receiver knows too.
    Hmac(HmacSha256),
    /// `v1a`: with a private key, of which the receiver knows the public one.
    Ed25519(SigningKey),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer([REDACTED])")
    }
}

impl Signer {
    /// A signer for `secret`.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self {
            specification: keyed(secret.expose().as_bytes()),
            standard: Standard::Hmac(keyed(&secret.standard_key())),
        }
    }

    /// A signer for `secret` whose `webhook-signature` is by `key`.
    #[must_use]
    pub fn asymmetric(secret: &Secret, key: &SigningKey) -> Self {
        Self {
            specification: keyed(secret.expose().as_bytes()),
            standard: Standard::Ed25519(key.clone()),
        }
    }

    /// The value of `X-Sentimatrix-Signature`: `sha256=` and the lower-case hexadecimal
    /// HMAC-SHA256 of the body (specification, "Signature Verification").
    ///
    /// ```
    /// # use domain::{Secret, Signer};
    /// let signer = Signer::new(&Secret::new("key"));
    /// assert_eq!(
    ///     signer.sign(b"The quick brown fox jumps over the lazy dog"),
    ///     "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
    /// );
    /// ```
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let mut mac = self.specification.clone();
        mac.update(body);
        let mut text = String::with_capacity(71);
        text.push_str("sha256=");
        let mut digits = [0_u8; 64];
        hex::encode_to_slice(mac.finalize().into_bytes(), &mut digits)
            .expect("64 digits hold 32 bytes");
        text.push_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"));
        text
    }

    /// The value of `webhook-signature` for one secret or key: `v1,` and the base64 HMAC-SHA256,
    /// or `v1a,` and the base64 Ed25519 signature, of `id.timestamp.body`; `timestamp` in unix
    /// seconds (Standard Webhooks, "Signature scheme").
    #[must_use]
    pub fn sign_standard(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = match &self.standard {
            Standard::Hmac(keyed) => keyed.clone(),
            Standard::Ed25519(key) => return key.sign(Signed { id, timestamp, body }),
        };
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        let mut text = String::with_capacity(47);
        text.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut text);
        text
    }
}

/// Whether `signature` is what [`Signer::sign`] gives for `body`, compared in constant time.
#[must_use]
pub fn verify(secret: &Secret, body: &[u8], signature: &str) -> bool {
    let digits = signature.strip_prefix("sha256=");
    digits.is_some_and(|digits| is_lower_hex_mac(keyed_mac(secret, body), digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_standard_signature_is_the_published_example() {
        // The example of the Standard Webhooks specification.
        let signer = Signer::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let signature = signer.sign_standard(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    proptest! {
        #[test]
        fn only_the_signed_bytes_verify(body: Vec<u8>, other: Vec<u8>, key in ".{1,64}") {
            let secret = Secret::new(key);
            let signature = Signer::new(&secret).sign(&body);
            prop_assert!(verify(&secret, &body, &signature));
            prop_assert_eq!(verify(&secret, &other, &signature), body == other);
        }
    }
}
