//! Secrets at rest: AES-256-GCM with a random nonce, bound to the table, row, owner and column
//! that they stand in.
//!
//! A sealed value is: 0, the number of the form (2), length of the key's id (1 byte), the id, the
//! nonce (12 bytes), the ciphertext with its tag. Earlier releases bound values to row and
//! column alone and began with the length of the id, which is never 0. That form still opens
//! where such values were kept for longer than a day ([`Place::unbound`]), and nowhere else; it is
//! never written. `secrets.only_bound` ends it.

use std::borrow::Cow;
use std::collections::HashSet;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use domain::setting::SecretText;
use rand::RngExt;
use zeroize::Zeroizing;

use crate::{SecretsConfig, StoreError};

const NONCE: usize = 12;

/// What the form of today begins with.
const BOUND: [u8; 2] = [0, 2];

/// The keys of `secrets.keys`: the first seals, all open.
pub(crate) struct Keyring {
    keys: Vec<(String, Aes256Gcm)>,
    only_bound: bool,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

/// Where a sealed value stands, and whose it is: it opens nowhere else, and for nobody else.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    /// What names the row in its table.
    pub(crate) row: &'a [u8],
    /// The user whose row it is.
    pub(crate) owner: &'a str,
    pub(crate) column: &'static str,
}

impl Place<'_> {
    /// Each part with its length, so that no two places have the same bytes.
    fn bytes(self) -> Vec<u8> {
        let parts =
            [self.table.as_bytes(), self.row, self.owner.as_bytes(), self.column.as_bytes()];
        let mut bytes = BOUND.to_vec();
        for part in parts {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }

    /// What values were bound to before, where there may be some of then. A value of then opens
    /// in its own row and column alone, so that none can be brought to a row made since.
    fn unbound(self) -> Option<Vec<u8>> {
        let kept = self.table == "webhooks"
            && matches!(self.column, "secret" | "previous_secret" | "headers");
        kept.then(|| [self.row, self.column.as_bytes()].concat())
    }
}

/// The parts of a sealed value.
struct Parts<'a> {
    bound: bool,
    key: Cow<'a, str>,
    nonce: [u8; NONCE],
    ciphertext: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `None` when it is cut short.
    fn of(sealed: &'a [u8]) -> Option<Self> {
        let bound = is_bound(sealed);
        let (&length, rest) = sealed[if bound { BOUND.len() } else { 0 }..].split_first()?;
        let (id, rest) = rest.split_at_checked(length.into())?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>()?;
        Some(Self { bound, key: String::from_utf8_lossy(id), nonce: *nonce, ciphertext })
    }
}

/// Whether it is in the form of today, bound to its owner.
pub(crate) fn is_bound(sealed: &[u8]) -> bool {
    sealed.starts_with(&BOUND)
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
            None => Ok(Self { keys, only_bound: config.only_bound }),
        }
    }

    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        let (id, cipher) = &self.keys[0];
        let nonce: [u8; NONCE] = rand::rng().random();
        let payload = Payload { msg: plain, aad: &place.bytes() };
        let sealed = cipher
            .encrypt(&Nonce::from(nonce), payload)
            .expect("AES-GCM encrypts anything up to 64 GiB");
        let length = u8::try_from(id.len()).expect("an id's length was checked when it was read");
        [&BOUND, [length].as_slice(), id.as_bytes(), &nonce, &sealed].concat()
    }

    /// The ids of the keys, the one that seals first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(id, _)| id.as_str())
    }

    /// Whether it is as it would be sealed now: by the first key, in the form of today.
    pub(crate) fn is_current(&self, sealed: &[u8]) -> bool {
        is_bound(sealed) && key_id(sealed).as_deref() == self.ids().next()
    }

    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Parts { bound, key: id, nonce, ciphertext } =
            Parts::of(sealed).ok_or_else(|| corrupt("it is cut short"))?;
        let (_, cipher) = self.keys.iter().find(|(known, _)| *known == id).ok_or_else(|| {
            corrupt(&format!("it was sealed with key {id:?}, which secrets.keys does not have"))
        })?;
        let aad = if bound { Some(place.bytes()) } else { self.unbound(place) };
        let aad = aad.ok_or_else(|| {
            corrupt("it is in the form of an earlier release, which is not bound to its owner")
        })?;
        cipher.decrypt(&Nonce::from(nonce), Payload { msg: ciphertext, aad: &aad }).map_err(|_| {
            corrupt(&format!(
                "key {id:?} does not open it: another key of that name, damaged, or moved here \
                 from another place"
            ))
        })
    }

    fn unbound(&self, place: Place<'_>) -> Option<Vec<u8>> {
        place.unbound().filter(|_| !self.only_bound)
    }
}

/// The id of the key that sealed this; `None` when it is damaged.
pub(crate) fn key_id(sealed: &[u8]) -> Option<String> {
    Parts::of(sealed).map(|parts| parts.key.into_owned())
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

    fn config(keys: &[(&str, u8)]) -> SecretsConfig {
        let keys = keys.iter().map(|(id, b)| format!("{id}:{}", STANDARD.encode([*b; 32])));
        SecretsConfig { keys: keys.map(SecretText::from).collect(), ..SecretsConfig::default() }
    }

    fn keyring(keys: &[(&str, u8)]) -> Keyring {
        Keyring::new(&config(keys)).unwrap()
    }

    const HERE: Place<'_> = Place { table: "webhooks", row: b"1", owner: "u", column: "secret" };

    /// As earlier releases sealed.
    fn sealed_before(byte: u8, id: &str, place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        let nonce = [7; NONCE];
        let aad = [place.row, place.column.as_bytes()].concat();
        let cipher = Aes256Gcm::new(&Key::<Aes256Gcm>::from([byte; 32]));
        let sealed =
            cipher.encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: &aad }).unwrap();
        [&[id.len() as u8], id.as_bytes(), &nonce, &sealed].concat()
    }

    #[test]
    fn what_was_sealed_with_an_older_key_still_opens() {
        let sealed = keyring(&[("old", 1)]).seal(HERE, b"whsec_1");
        let both = keyring(&[("new", 2), ("old", 1)]);
        assert_eq!(both.open(HERE, &sealed).unwrap(), b"whsec_1");
        assert!(!sealed.windows(7).any(|w| w == b"whsec_1"));
        assert!(!both.is_current(&sealed) && keyring(&[("old", 1)]).is_current(&sealed));
    }

    #[test]
    fn a_sealed_value_opens_only_where_it_stands_and_with_its_key() {
        let ring = keyring(&[("k", 1)]);
        let sealed = ring.seal(HERE, b"whsec_1");
        for elsewhere in [
            Place { table: "other", ..HERE },
            Place { row: b"2", ..HERE },
            Place { owner: "v", ..HERE },
            Place { column: "headers", ..HERE },
            // The same bytes, divided otherwise.
            Place { row: b"1u", owner: "", ..HERE },
            Place { owner: "usecret", column: "", ..HERE },
        ] {
            assert!(ring.open(elsewhere, &sealed).is_err());
        }
        let missing = keyring(&[("other", 1)]).open(HERE, &sealed).unwrap_err().to_string();
        assert!(missing.contains("\"k\"") && missing.contains("secrets.keys"), "{missing}");
        assert!(keyring(&[("k", 9)]).open(HERE, &sealed).is_err());
        for end in 0..sealed.len() {
            assert!(ring.open(HERE, &sealed[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn the_form_of_before_opens_where_it_was_kept_and_is_never_made() {
        let ring = keyring(&[("k", 1)]);
        for column in ["secret", "previous_secret", "headers"] {
            let place = Place { column, ..HERE };
            let before = sealed_before(1, "k", place, b"whsec_1");
            assert_eq!(ring.open(place, &before).unwrap(), b"whsec_1");
            assert!(!is_bound(&before) && !ring.is_current(&before));
            assert_eq!(key_id(&before).as_deref(), Some("k"));
        }
        for place in [
            Place { column: "signing_key", ..HERE },
            Place { table: "idempotency_keys", column: "answer", ..HERE },
        ] {
            let before = sealed_before(1, "k", place, b"answer");
            let error = ring.open(place, &before).unwrap_err().to_string();
            assert!(error.contains("earlier release"), "{error}");
        }
        let before = sealed_before(1, "k", HERE, b"whsec_1");
        assert!(ring.open(Place { row: b"2", ..HERE }, &before).is_err());
        let strict = SecretsConfig { only_bound: true, ..config(&[("k", 1)]) };
        assert!(Keyring::new(&strict).unwrap().open(HERE, &before).is_err());
    }

    #[test]
    fn neither_form_is_taken_for_the_other() {
        let ring = keyring(&[("k", 1)]);
        let sealed = ring.seal(HERE, b"whsec_1");
        assert!(is_bound(&sealed));
        assert!(ring.open(HERE, &sealed[BOUND.len()..]).is_err(), "the mark was cut off");
        let before = sealed_before(1, "k", HERE, b"whsec_1");
        assert!(ring.open(HERE, &[&BOUND, before.as_slice()].concat()).is_err(), "one was put on");
    }

    #[test]
    fn wrong_keys_are_named_by_their_setting() {
        let good = format!("k:{}", STANDARD.encode([1; 32]));
        let twice = [good.as_str(), &good].join(",");
        for wrong in ["", "nokey", "k:AAAA", ":AAAA", &twice] {
            let keys = wrong.split(',').filter(|key| !key.is_empty()).map(SecretText::from);
            let config = SecretsConfig { keys: keys.collect(), ..SecretsConfig::default() };
            let error = Keyring::new(&config).unwrap_err();
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
            let error =
                Keyring::new(&SecretsConfig { keys, only_bound: false }).unwrap_err().to_string();
            assert!(error.starts_with("secrets.keys: entry 2: "), "{error}");
            for part in [bare, &other, "abab"] {
                assert!(!error.contains(part), "{wrong}: {error}");
            }
        }
    }
}
