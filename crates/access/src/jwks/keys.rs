//! Public keys of a JSON Web Key Set (RFC 7517, RFC 7518, RFC 8037): those that can check a
//! token, and no others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

/// Keys of a set, at most.
const MOST: usize = 64;

/// Longest name of a key, bytes.
const LONGEST_ID: usize = 256;

/// Shortest and longest RSA modulus, bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// By the name in a token's header, in its one spelling.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "RS256" => Self::Rs256,
            "ES256" => Self::Es256,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// The usable keys of a set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PublicKeys(Vec<PublicKey>);

#[derive(Debug, PartialEq, Eq)]
struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point of P-256 or Ed25519.
    Point(Vec<u8>),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl PublicKeys {
    /// The usable keys of the set in `text`; the error says why there are none.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let Document { keys } = serde_json::from_slice(text).map_err(|e| not_a_set(&e))?;
        if keys.len() > MOST {
            return Err(format!("has {} keys, more than {MOST}", keys.len()));
        }
        // What is meant for something else, or too weak, stands beside the others and is left.
        let usable: Vec<_> = keys
            .into_iter()
            .filter_map(|key| PublicKey::of(serde_json::from_value(key).ok()?))
            .collect();
        if usable.is_empty() {
            return Err("has no key for RS256 (2,048 bits or more), ES256 or EdDSA".into());
        }
        Ok(Self(usable))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a key could have signed what names this algorithm and key.
    pub(crate) fn has(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.find(algorithm, id).is_some()
    }

    /// Whether the key that the token names has signed `signed`.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        self.find(algorithm, id).is_some_and(|key| key.verify(signed, signature))
    }

    /// A token that names no key is by the only one that can have signed it.
    fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&PublicKey> {
        let mut able = self.0.iter().filter(|key| key.algorithm == algorithm);
        match id {
            Some(id) => able.find(|key| key.id.as_deref() == Some(id)),
            None => able.next().filter(|_| able.next().is_none()),
        }
    }
}

/// Where it ends to be one: serde's own words may repeat what stands there.
fn not_a_set(error: &serde_json::Error) -> String {
    format!("is no JSON Web Key Set (line {}, column {})", error.line(), error.column())
}

impl PublicKey {
    /// A key that may check signatures, by the one algorithm of its kind; `None` for any other.
    fn of(jwk: Jwk) -> Option<Self> {
        let (algorithm, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => (Algorithm::Rs256, rsa(&number(jwk.n)?, &number(jwk.e)?)?),
            ("EC", Some("P-256")) => {
                let point = [[4].as_slice(), &coordinate(jwk.x)?, &coordinate(jwk.y)?].concat();
                (Algorithm::Es256, Material::Point(point))
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, Material::Point(coordinate(jwk.x)?)),
            _ => return None,
        };
        let signs = jwk.purpose.is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.is_none_or(|uses| uses.iter().any(|name| name == "verify"))
            && jwk.alg.is_none_or(|name| Algorithm::named(&name) == Some(algorithm))
            && jwk.kid.as_ref().is_none_or(|id| id.len() <= LONGEST_ID);
        signs.then_some(Self { id: jwk.kid, algorithm, material })
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        let by = |algorithm: &'static dyn VerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(algorithm, point).verify(signed, signature)
        };
        let checked = match &self.material {
            Material::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
            Material::Point(point) if self.algorithm == Algorithm::EdDsa => by(&ED25519, point),
            Material::Point(point) => by(&ECDSA_P256_SHA256_FIXED, point),
        };
        checked.is_ok()
    }
}

fn rsa(n: &[u8], e: &[u8]) -> Option<Material> {
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    // Small exponents are the rule; 1 would make every signature right.
    let sound = RSA_BITS.contains(&bits) && e != [1] && e.len() <= 4 && e.last()? % 2 == 1;
    sound.then(|| Material::Rsa(n.to_vec(), e.to_vec()))
}

/// The bytes of a number, without leading zeros.
fn number(text: Option<String>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[first..].to_vec())
}

fn coordinate(text: Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok().filter(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rsa_of(bytes: usize) -> String {
        let mut n = vec![0xff; bytes];
        n[0] = 0x80;
        URL_SAFE_NO_PAD.encode(n)
    }

    fn usable(key: Value) -> bool {
        PublicKeys::parse(json!({ "keys": [key] }).to_string().as_bytes()).is_ok()
    }

    #[test]
    fn keys_that_are_weak_or_meant_for_something_else_are_left() {
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let rsa = |bytes| json!({ "kty": "RSA", "n": rsa_of(bytes), "e": "AQAB" });
        let with = |mut key: Value, name: &str, value: Value| {
            key[name] = value;
            key
        };
        assert!(usable(rsa(256)) && usable(rsa(512)));
        assert!(usable(with(rsa(256), "n", json!(format!("AAAA{}", rsa_of(256))))));
        assert!(usable(json!({ "kty": "OKP", "crv": "Ed25519", "x": x })));
        assert!(usable(json!({ "kty": "EC", "crv": "P-256", "x": x, "y": x, "alg": "ES256" })));
        for ignored in [
            rsa(255),
            rsa(128),
            rsa(2_000),
            with(rsa(256), "n", json!(format!("AAAA{}", rsa_of(128)))),
            with(rsa(256), "e", json!("AQ")),
            with(rsa(256), "e", json!("Ag")),
            with(rsa(256), "e", json!("AA")),
            with(rsa(256), "use", json!("enc")),
            with(rsa(256), "key_ops", json!(["encrypt"])),
            with(rsa(256), "alg", json!("RS512")),
            with(rsa(256), "alg", json!("ES256")),
            with(rsa(256), "kid", json!("x".repeat(257))),
            with(rsa(256), "kid", json!(7)),
            json!({ "kty": "oct", "k": x, "alg": "HS256" }),
            json!({ "kty": "EC", "crv": "P-384", "x": x, "y": x }),
            json!({ "kty": "EC", "crv": "P-256", "x": x }),
            json!({ "kty": "OKP", "crv": "X25519", "x": x }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }),
            json!({}),
            json!(null),
        ] {
            assert!(!usable(ignored.clone()), "{ignored}");
        }
    }

    #[test]
    fn a_set_is_bounded() {
        let key = json!({ "kty": "RSA", "n": rsa_of(256), "e": "AQAB" });
        let of = |count| json!({ "keys": vec![key.clone(); count] }).to_string();
        assert_eq!(PublicKeys::parse(of(MOST).as_bytes()).unwrap().len(), MOST);
        assert!(PublicKeys::parse(of(MOST + 1).as_bytes()).is_err());
        for garbage in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[],"keys":[]}"#, "\u{0}"] {
            assert!(PublicKeys::parse(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }

    #[test]
    fn a_token_without_a_key_id_is_by_the_only_key_of_its_kind() {
        let rsa = |kid: &str| json!({ "kty": "RSA", "n": rsa_of(256), "e": "AQAB", "kid": kid });
        let set = |keys: Value| {
            PublicKeys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
        };
        let one = set(json!([rsa("a")]));
        assert!(one.has(Algorithm::Rs256, None) && one.has(Algorithm::Rs256, Some("a")));
        assert!(!one.has(Algorithm::Rs256, Some("b")) && !one.has(Algorithm::Es256, Some("a")));
        assert!(!set(json!([rsa("a"), rsa("b")])).has(Algorithm::Rs256, None));
    }
}
