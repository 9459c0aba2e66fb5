//! The signatures, checked from the specification alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

type HmacSha256 = Hmac<Sha256>;

/// A keyed HMAC-SHA256, to be cloned for each body.
#[must_use]
pub fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// `sha256=…` of a body: what `X-Sentimatrix-Signature` must be.
#[must_use]
pub fn specification(key: &HmacSha256, body: &[u8]) -> String {
    let mut mac = key.clone();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// `v1,…`: what `webhook-signature` must hold (Standard Webhooks, "Signature scheme").
#[must_use]
pub fn standard(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let decoded = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let key = decoded.filter(|key| !key.is_empty()).unwrap_or_else(|| secret.as_bytes().to_vec());
    let mut mac = keyed(&key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_signatures_are_the_published_examples() {
        let text = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(
            specification(&keyed(b"key"), text),
            "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
        assert_eq!(
            standard(
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
