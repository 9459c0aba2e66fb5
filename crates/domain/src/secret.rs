//! A webhook's signing secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

/// A signing secret. Never printed: `Debug` is redacted and [`Secret::masked`] is what users
/// see after creation.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret that a user chose, or that was stored.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// `whsec_` and the base64 of `random`, as Standard Webhooks writes secrets.
    #[must_use]
    pub fn from_random(random: [u8; 24]) -> Self {
        Self::new(format!("whsec_{}", STANDARD.encode(random)))
    }

    /// The whole secret: for signing, encrypting and the answers to creation and rotation.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// `whsec_...xyz`: the last three characters, and of a secret under 12 characters none.
    #[must_use]
    pub fn masked(&self) -> String {
        let text = self.expose();
        let count = text.chars().count();
        let tail: String =
            if count < 12 { String::new() } else { text.chars().skip(count - 3).collect() };
        format!("whsec_...{tail}")
    }

    /// The key of `webhook-signature`: the bytes that base64 after `whsec_` decodes to, or the
    /// text's own bytes when it is no such thing.
    #[must_use]
    pub(crate) fn standard_key(&self) -> Vec<u8> {
        let text = self.expose();
        text.strip_prefix("whsec_")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .filter(|key| !key.is_empty())
            .unwrap_or_else(|| text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_as_the_specification_shows() {
        assert_eq!(Secret::new("whsec_abcdefgh_xyz").masked(), "whsec_...xyz");
        assert_eq!(Secret::new("my_webhook_secret").masked(), "whsec_...ret");
        assert_eq!(Secret::new("short").masked(), "whsec_...");
        assert_eq!(format!("{:?}", Secret::new("whsec_abc")), "Secret([REDACTED])");
    }

    #[test]
    fn standard_webhooks_decodes_what_follows_the_prefix() {
        assert_eq!(Secret::from_random([7; 24]).standard_key(), [7; 24]);
        assert_eq!(Secret::new("my_webhook_secret").standard_key(), b"my_webhook_secret");
        assert_eq!(Secret::new("whsec_!!").standard_key(), b"whsec_!!");
    }
}
