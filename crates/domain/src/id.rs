//! Ids: a prefix that names the kind, then 32 hexadecimal digits that begin with a time, so
//! that they sort by it. Ids that others choose (events, users, projects) are checked text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The text is no id of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id")]
pub struct InvalidId;

fn parse_prefixed(prefix: &str, text: &str) -> Result<Uuid, InvalidId> {
    let digits = text.strip_prefix(prefix).ok_or(InvalidId)?;
    // `Uuid` also reads hyphens, braces and capitals; an id has one spelling.
    let plain =
        digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !plain {
        return Err(InvalidId);
    }
    Uuid::try_parse(digits).map_err(|_| InvalidId)
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The 16 bytes behind the prefix, as stored.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            /// The id of these 16 bytes.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_prefixed($prefix, text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}

macro_rules! fresh_id {
    ($name:ident) => {
        impl $name {
            /// A new id, greater than those made before it (to the millisecond).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }
    };
}

prefixed_id!(
    /// Names a webhook: `wh_` and 32 hexadecimal digits.
    WebhookId, "wh_"
);
fresh_id!(WebhookId);
prefixed_id!(
    /// Names a background job (a range of redeliveries, a replay): `job_…`.
    JobId, "job_"
);
fresh_id!(JobId);
prefixed_id!(
    /// Names a notice to Studio (`studio.notices`): `ntc_…`.
    NoticeId, "ntc_"
);
fresh_id!(NoticeId);
prefixed_id!(
    /// Names a row of the audit trail: `aud_…`.
    AuditId, "aud_"
);
fresh_id!(AuditId);
prefixed_id!(
    /// Names one HTTP request to the API: `req_…`.
    RequestId, "req_"
);
fresh_id!(RequestId);
prefixed_id!(
    /// Names a delivery, that is one event for one webhook: `log_…`, because the API calls
    /// deliveries logs. It is derived, never drawn: the same event for the same webhook has the
    /// same id in every process, so that whatever the broker brings again is recognised.
    DeliveryId, "log_"
);

impl DeliveryId {
    /// The delivery of `user`'s event `event` to `webhook`. `nonce` is empty, but for
    /// redeliveries by hand, which are deliveries of their own.
    ///
    /// ```
    /// # use domain::{DeliveryId, EventId, UserId, WebhookId};
    /// let (user, event) = ("usr_1".parse::<UserId>()?, "evt_1".parse::<EventId>()?);
    /// let webhook = WebhookId::generate();
    /// let id = DeliveryId::derive(&user, &event, webhook, "");
    /// assert_eq!(id, DeliveryId::derive(&user, &event, webhook, ""));
    /// assert_ne!(id, DeliveryId::derive(&user, &event, webhook, "again"));
    /// # Ok::<(), domain::InvalidId>(())
    /// ```
    #[must_use]
    pub fn derive(user: &UserId, event: &EventId, webhook: WebhookId, nonce: &str) -> Self {
        Self(derive_uuid(
            event,
            &[
                user.as_str().as_bytes(),
                event.as_str().as_bytes(),
                webhook.0.as_bytes(),
                nonce.as_bytes(),
            ],
        ))
    }
}

/// A hash of `parts`, behind what sorts `event` among others, so that rows of ids that sort by time
/// (UUIDv7, ULID, KSUID, numbers that grow) lie in the order of time: an index that is written at
/// its end costs a fraction of one that is written all over. Only the id decides, never the event's
/// timestamp: the same id published with another timestamp is still the same event.
pub(crate) fn derive_uuid(event: &EventId, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    let text = event.as_str();
    if let Ok(own) = parse_prefixed("evt_", text)
        && own.get_version_num() == 7
    {
        bytes[..6].copy_from_slice(&own.as_bytes()[..6]);
    } else {
        let sorting = text.split_once('_').map_or(text, |(_, rest)| rest).as_bytes();
        let known = sorting.len().min(SORTING);
        bytes[..known].copy_from_slice(&sorting[..known]);
    }
    Uuid::from_bytes(bytes)
}

/// Characters of an id, after its prefix, that stand in what is derived from it; eight bytes of
/// hash are left to keep users, webhooks and ids with the same beginning apart.
const SORTING: usize = 8;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let allowed: fn(u8) -> bool = $allowed;
                let valid = (1..=$max).contains(&text.len()) && text.bytes().all(allowed);
                valid.then(|| Self(text.into())).ok_or(InvalidId)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// Names an event; its publisher chooses it: 1 to 64 of `[A-Za-z0-9._-]`. Unique per user.
    EventId, 64, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
);
text_id!(
    /// Names a user, the owner of webhooks and events (`sub` of an access token): 1 to 128
    /// printable ASCII characters without spaces, quotes and backslashes.
    UserId, 128, |b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')
);
text_id!(
    /// Names a project of Studio: 1 to 128 printable ASCII characters without spaces, quotes
    /// and backslashes.
    ProjectId, 128, |b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')
);

impl EventId {
    /// A new id, `evt_` and a UUIDv7, for publishers who leave it to us.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("evt_{}", Uuid::now_v7().simple()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = WebhookId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        let upper = id.to_string().to_uppercase();
        let hyphens = format!("wh_{}", id.as_uuid().hyphenated());
        for wrong in
            [upper.as_str(), &hyphens, "wh_", "wh_12", "log_00000000000000000000000000000000"]
        {
            assert_eq!(wrong.parse::<WebhookId>(), Err(InvalidId), "{wrong}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let first = WebhookId::generate();
        let second = WebhookId::generate();
        assert!(first.to_string() < second.to_string());
    }

    #[test]
    fn a_delivery_of_an_own_event_carries_its_time() {
        let user: UserId = "usr_1".parse().unwrap();
        let event = EventId::generate();
        let id = DeliveryId::derive(&user, &event, WebhookId::generate(), "");
        assert_eq!(id.to_string()[4..16], event.as_str()[4..16]);
    }

    #[test]
    fn deliveries_of_ids_that_sort_by_time_sort_by_time() {
        let (user, webhook): (UserId, _) = ("usr_1".parse().unwrap(), WebhookId::generate());
        let of = |event: &str| {
            DeliveryId::derive(&user, &event.parse().unwrap(), webhook, "").to_string()
        };
        assert!(of("evt_01JDM0000000") < of("evt_01JDM0010000"));
        assert!(of("17000000001") < of("17010000000"));
        assert_ne!(of("evt_a"), of("b_a"), "another id");
        assert_ne!(of("evt_01JDM0000000_1"), of("evt_01JDM0000000_2"));
    }

    #[test]
    fn the_parts_of_a_delivery_cannot_be_shifted_into_each_other() {
        let webhook = WebhookId::generate();
        let of = |user: &str, event: &str| {
            DeliveryId::derive(&user.parse().unwrap(), &event.parse().unwrap(), webhook, "")
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }

    #[test]
    fn event_ids_are_safe_in_headers() {
        for wrong in ["", "a b", "a\r\nb", "é", "a/b", &"x".repeat(65)] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong:?}");
        }
        assert!("evt_abc-1.2_3".parse::<EventId>().is_ok());
    }
}
