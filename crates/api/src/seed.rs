//! What the ids and times of a request's work are made from. With an idempotency key it is kept
//! with the key: work begun again after a crash makes the same ids, so that it is recognised.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use domain::{EventId, JobId, WebhookId};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::{Builder, Uuid};

use crate::error::ApiError;

/// A UUIDv7 of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(pub(crate) Uuid);

impl Seed {
    /// The id of the webhook that the request makes.
    pub(crate) fn webhook(self) -> WebhookId {
        WebhookId::from_uuid(self.0)
    }

    /// The id of the job that the request makes.
    pub(crate) fn job(self) -> JobId {
        JobId::from_uuid(self.0)
    }

    /// What makes the delivery that the request asks for one of its own.
    pub(crate) fn nonce(self) -> String {
        self.0.to_string()
    }

    /// The id of the event `index` of the request: ids sort by time, then by index.
    pub(crate) fn event(self, index: usize) -> EventId {
        let mut hash = Sha256::new();
        hash.update(self.0.as_bytes());
        hash.update((index as u64).to_be_bytes());
        let mut rest = [0_u8; 10];
        rest.copy_from_slice(&hash.finalize()[..10]);
        // The 12 bits behind the time; a batch has fewer events than they count.
        let [high, low] = ((index & 0xfff) as u16).to_be_bytes();
        (rest[0], rest[1]) = (high, low);
        let id = Builder::from_unix_timestamp_millis(self.millis(), &rest).into_uuid();
        format!("evt_{}", id.simple()).parse().expect("hexadecimal digits are allowed in an id")
    }

    /// When the request first came.
    pub(crate) fn at(self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_millis(self.millis())
    }

    fn millis(self) -> u64 {
        self.0.get_timestamp().map_or(0, |at| {
            let (seconds, nanos) = at.to_unix();
            seconds * 1_000 + u64::from(nanos) / 1_000_000
        })
    }
}

impl FromRequest for Seed {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let kept = request.extensions().get::<Self>().copied();
        ready(Ok(kept.unwrap_or_else(|| Self(Uuid::now_v7()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_ids_every_time_and_they_sort_by_index() {
        let seed = Seed(Uuid::now_v7());
        let ids: Vec<EventId> = (0..1_000).map(|index| seed.event(index)).collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(seed.event(7), ids[7]);
        assert_eq!(ids[0].as_str()[4..16], seed.0.simple().to_string()[..12], "the seed's time");
        assert_ne!(Seed(Uuid::now_v7()).event(7), ids[7]);
    }

    #[test]
    fn a_seed_knows_when_it_was_made() {
        let made = Seed(Uuid::now_v7()).at();
        let since = OffsetDateTime::now_utc() - made;
        assert!(since.whole_seconds() < 5 && !since.is_negative(), "{since}");
    }
}
