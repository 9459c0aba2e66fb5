//! Ed25519 keys: signatures that a receiver checks with a public key, so that it holds nothing
//! with which deliveries could be forged.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use secrecy::{ExposeSecret, SecretBox};

use crate::signature::{Signed, V1A};

/// What public keys begin with (Standard Webhooks, "Asymmetric signatures").
const PREFIX: &str = "whpk_";

/// How the `webhook-signature` of a webhook's deliveries is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SigningScheme {
    /// With the secret, which the receiver knows too.
    #[default]
    Hmac,
    /// With a private key, of which the receiver knows the public one.
    Ed25519,
}

impl SigningScheme {
    /// All of them, as the API names them.
    pub const NAMES: [(Self, &'static str); 2] = [(Self::Hmac, "hmac"), (Self::Ed25519, "ed25519")];

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// The scheme of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(scheme, _)| *scheme)
    }
}

/// A webhook's private key. Never printed, never shown; cloning shares it.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    seed: SecretBox<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key whose seed (RFC 8032, section 5.1.5: the private key) is `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed has 32 bytes");
        Self(Arc::new(Inner { seed: SecretBox::new(Box::new(seed)), pair }))
    }

    /// The seed: for sealing.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.seed.expose_secret()
    }

    /// The key that receivers check with.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.0.pair.public_key().as_ref();
        PublicKey(bytes.try_into().expect("a public key has 32 bytes"))
    }

    /// The value of `webhook-signature` for one key: `v1a,` and the base64 signature.
    pub(crate) fn sign(&self, signed: Signed<'_>) -> String {
        let signature = self.0.pair.sign(&signed.whole());
        let mut text = String::with_capacity(V1A.len() + 88);
        text.push_str(V1A);
        STANDARD.encode_string(signature, &mut text);
        text
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([REDACTED])")
    }
}

/// What a receiver checks signatures with; written `whpk_` and the base64 of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// A text is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected whpk_ and the base64 of 32 bytes")]
pub struct InvalidPublicKey;

impl PublicKey {
    /// Whether one of the signatures in `header`, the value of `webhook-signature`, is by this
    /// key over `id.timestamp.body`.
    #[must_use]
    pub fn verifies(&self, id: &str, timestamp: i64, body: &[u8], header: &str) -> bool {
        let signed = Signed { id, timestamp, body }.whole();
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        let given = header.split(' ').filter_map(|one| one.strip_prefix(V1A));
        given
            .filter_map(|text| STANDARD.decode(text).ok())
            .any(|signature| key.verify(&signed, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidPublicKey)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| InvalidPublicKey)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPublicKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn key() -> SigningKey {
        SigningKey::from_seed(hex::decode(SEED).unwrap().try_into().unwrap())
    }

    #[test]
    fn the_key_pair_is_the_published_example() {
        let public = key().public_key();
        assert_eq!(public.0.as_slice(), hex::decode(PUBLIC).unwrap());
        assert_eq!(public.to_string(), "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        assert_eq!(public.to_string().parse(), Ok(public));
        assert_eq!(format!("{:?}", key()), "SigningKey([REDACTED])");
        assert_eq!(key().expose().as_slice(), hex::decode(SEED).unwrap());
    }

    #[test]
    fn only_what_was_signed_verifies_and_only_with_its_key() {
        let signature = key().sign(Signed { id: "msg_1", timestamp: 1_614_265_330, body: b"{}" });
        let public = key().public_key();
        assert!(public.verifies("msg_1", 1_614_265_330, b"{}", &signature));
        let both = format!("v1,AAAA {signature}");
        assert!(public.verifies("msg_1", 1_614_265_330, b"{}", &both), "one of several is enough");
        assert!(!public.verifies("msg_2", 1_614_265_330, b"{}", &signature));
        assert!(!public.verifies("msg_1", 1_614_265_331, b"{}", &signature));
        assert!(!public.verifies("msg_1", 1_614_265_330, b"{} ", &signature));
        assert!(!public.verifies("msg_1", 1_614_265_330, b"{}", ""));
        let other = SigningKey::from_seed([7; 32]).public_key();
        assert!(!other.verifies("msg_1", 1_614_265_330, b"{}", &signature));
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        for wrong in
            ["", "whpk_", "whpk_AAAA", "whsec_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]
        {
            assert_eq!(wrong.parse::<PublicKey>(), Err(InvalidPublicKey), "{wrong}");
        }
    }
}
