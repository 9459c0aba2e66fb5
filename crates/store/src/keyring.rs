//! Secrets at rest: AES-256-GCM with a random nonce, bound to the row and column they stand in.
//!
//! A sealed value is: length of the key's id (1 byte), the id, the nonce (12 bytes), the
//! ciphertext with its tag.

use std::collections::HashSet;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use domain::setting::SecretText;
use rand::RngExt;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{SecretsConfig, StoreError};

const NONCE: usize = 12;

/// The keys of `secrets.keys`: the first seals, all open.
pub(crate) struct Keyring {
    keys: Vec<(String, Aes256Gcm)>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

/// Where a sealed value stands: it opens nowhere else.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) row: Uuid,
    pub(crate) column: &'static str,
}

impl Place {
    fn bytes(self) -> Vec<u8> {
        [self.row.as_bytes(), self.column.as_bytes()].concat()
    }
}

impl Keyring {
    pub(crate) fn new(config: &SecretsConfig) -> Result<Self, StoreError> {
        if config.keys.is_empty() {
            return Err(wrong_key("expected at least one key, written id:base64 of 32 bytes"));
        }
        // By its place: whatever stands in an entry that is wrong may be the key.
        let of_place =
            |place: usize, what: &str| wrong_key(&format!("entry {}: {what}", place + 1));
        let read = |(place, text): (usize, &SecretText)| {
            read_key(text.expose()).map_err(|what| of_place(place, what))
        };
        let keys: Vec<(String, Aes256Gcm)> =
            config.keys.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let mut ids = HashSet::new();
        match keys.iter().position(|(id, _)| !ids.insert(id)) {
            Some(place) => Err(of_place(place, "an earlier one has the same id")),
            None => Ok(Self { keys }),
        }
    }

    pub(crate) fn seal(&self, place: Place, plain: &[u8]) -> Vec<u8> {
        let (id, cipher) = &self.keys[0];
        let nonce: [u8; NONCE] = rand::rng().random();
        let payload = Payload { msg: plain, aad: &place.bytes() };
        let sealed = cipher
            .encrypt(&Nonce::from(nonce), payload)
            .expect("AES-GCM encrypts anything up to 64 GiB");
        let length = u8::try_from(id.len()).expect("an id's length was checked when it was read");
        [&[length], id.as_bytes(), &nonce, &sealed].concat()
    }

    /// The ids of the keys, the one that seals first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(id, _)| id.as_str())
    }

    /// Whether the key that seals now sealed this.
    pub(crate) fn seals_first(&self, sealed: &[u8]) -> bool {
        key_id(sealed).as_deref() == self.ids().next()
    }

    pub(crate) fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let damaged = || corrupt("it is cut short");
        let (&length, rest) = sealed.split_first().ok_or_else(damaged)?;
        let (id, rest) = rest.split_at_checked(length.into()).ok_or_else(damaged)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let id = String::from_utf8_lossy(id);
        let (_, cipher) = self.keys.iter().find(|(known, _)| *known == id).ok_or_else(|| {
            corrupt(&format!("it was sealed with key {id:?}, which secrets.keys does not have"))
        })?;
        let payload = Payload { msg: ciphertext, aad: &place.bytes() };
        cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| {
            corrupt(&format!("key {id:?} does not open it: another key of that name, or damaged"))
        })
    }
}

/// The id of the key that sealed this; `None` when it is damaged.
pub(crate) fn key_id(sealed: &[u8]) -> Option<String> {
    let (&length, rest) = sealed.split_first()?;
    rest.get(..length.into()).map(|id| String::from_utf8_lossy(id).into_owned())
}

/// The id and the cipher of an entry; or what is wrong with it, without a word of it.
fn read_key(text: &str) -> Result<(String, Aes256Gcm), &'static str> {
    let (id, encoded) = text.split_once(':').ok_or("expected id:base64 of 32 bytes")?;
    let plain = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if !plain {
        return Err("expected an id of 1 to 64 printable characters before the colon");
    }
    // Ids are shown, and stored beside what they seal.
    if is_like_a_key(id) {
        return Err(
            "a key stands before the colon, where its id is expected: id:base64 of 32 bytes",
        );
    }
    let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).unwrap_or_default());
    let key: [u8; 32] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| "expected the base64 of 32 bytes after the id (openssl rand -base64 32)")?;
    Ok((id.to_owned(), Aes256Gcm::new(&Key::<Aes256Gcm>::from(key))))
}

/// Whether it is 32 bytes, written in base64 or in hexadecimal digits.
fn is_like_a_key(id: &str) -> bool {
    let bare = id.trim_end_matches('=').replace('-', "+").replace('_', "/");
    let bytes = Zeroizing::new(STANDARD_NO_PAD.decode(bare).unwrap_or_default());
    bytes.len() == 32 || (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn wrong_key(message: &str) -> StoreError {
    StoreError::Config { key: "secrets.keys", message: message.to_owned() }
}

fn corrupt(message: &str) -> StoreError {
    StoreError::corrupt("secret", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(keys: &[(&str, u8)]) -> Keyring {
        let keys = keys.iter().map(|(id, b)| format!("{id}:{}", STANDARD.encode([*b; 32])));
        Keyring::new(&SecretsConfig { keys: keys.map(SecretText::from).collect() }).unwrap()
    }

    const HERE: Place = Place { row: Uuid::from_u128(1), column: "secret" };

    #[test]
    fn what_was_sealed_with_an_older_key_still_opens() {
        let sealed = keyring(&[("old", 1)]).seal(HERE, b"whsec_1");
        let both = keyring(&[("new", 2), ("old", 1)]);
        assert_eq!(both.open(HERE, &sealed).unwrap(), b"whsec_1");
        assert!(!sealed.windows(7).any(|w| w == b"whsec_1"));
    }

    #[test]
    fn a_sealed_value_opens_only_where_it_stands_and_with_its_key() {
        let ring = keyring(&[("k", 1)]);
        let sealed = ring.seal(HERE, b"whsec_1");
        let elsewhere = Place { row: Uuid::from_u128(2), ..HERE };
        assert!(ring.open(elsewhere, &sealed).is_err());
        assert!(ring.open(Place { column: "headers", ..HERE }, &sealed).is_err());
        let missing = keyring(&[("other", 1)]).open(HERE, &sealed).unwrap_err().to_string();
        assert!(missing.contains("\"k\"") && missing.contains("secrets.keys"), "{missing}");
        assert!(keyring(&[("k", 9)]).open(HERE, &sealed).is_err());
        assert!(ring.open(HERE, &sealed[..5]).is_err());
    }

    #[test]
    fn wrong_keys_are_named_by_their_setting() {
        let good = format!("k:{}", STANDARD.encode([1; 32]));
        let twice = [good.as_str(), &good].join(",");
        for wrong in ["", "nokey", "k:AAAA", ":AAAA", &twice] {
            let keys = wrong.split(',').filter(|key| !key.is_empty()).map(SecretText::from);
            let error = Keyring::new(&SecretsConfig { keys: keys.collect() }).unwrap_err();
            assert!(error.to_string().starts_with("secrets.keys: "), "{error}");
        }
    }

    #[test]
    fn an_entry_that_is_wrong_is_named_by_its_place_and_not_repeated() {
        let (key, other) = (STANDARD.encode([7; 32]), STANDARD.encode([8; 32]));
        let good = format!("k:{other}");
        let bare = key.trim_end_matches('=');
        for wrong in [
            format!("{key}:k1"),
            format!("{bare}:k1"),
            format!("{key}:{other}"),
            format!("{bare}:{other}"),
            format!("{}:{other}", "ab".repeat(32)),
            format!("k1:{key}{other}"),
            key.clone(),
        ] {
            let keys = vec![good.as_str().into(), wrong.as_str().into()];
            let error = Keyring::new(&SecretsConfig { keys }).unwrap_err().to_string();
            assert!(error.starts_with("secrets.keys: entry 2: "), "{error}");
            for part in [bare, &other, "abab"] {
                assert!(!error.contains(part), "{wrong}: {error}");
            }
        }
    }
}
