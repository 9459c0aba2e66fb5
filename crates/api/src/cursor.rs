//! `?cursor=`: a place in a list, opaque to those who carry it. It names the last row seen, so
//! that rows which come meanwhile move nothing; and, for people, the number of the next page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{AuditId, DeliveryId, JobId, WebhookId};
use store::{AuditRow, DeliveryPlace, DeliveryRow, Job, WebhookWithStats};
use uuid::Uuid;

/// A place in one kind of list. Its bytes and those of the page are whole groups of three, so
/// that each cursor has one spelling, and each spelling is a cursor.
pub(crate) trait Place: Sized {
    /// The first letter of its cursors: a place in one list is none in another.
    const LETTER: char;

    /// Bytes of the page's number.
    const PAGE: usize;

    fn to_bytes(&self) -> Vec<u8>;

    fn of_bytes(bytes: &[u8]) -> Option<Self>;
}

/// A row of a list that can be gone on with after it.
pub(crate) trait Listed {
    type Place: Place;

    fn place(&self) -> Self::Place;
}

/// The cursor of what follows `place`, which is page `next`.
pub(crate) fn write<P: Place>(place: &P, next: u64) -> String {
    let mut bytes = place.to_bytes();
    let most = (1_u64 << (8 * P::PAGE)) - 1;
    bytes.extend_from_slice(&next.min(most).to_be_bytes()[8 - P::PAGE..]);
    format!("{}{}", P::LETTER, URL_SAFE_NO_PAD.encode(bytes))
}

/// The place that `cursor` names, and the number of the page after it.
pub(crate) fn read<P: Place>(cursor: &str) -> Option<(P, u64)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.strip_prefix(P::LETTER)?).ok()?;
    let (place, page) = bytes.split_at_checked(bytes.len().checked_sub(P::PAGE)?)?;
    let page = page.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some((P::of_bytes(place)?, page.max(1)))
}

impl Place for WebhookId {
    const LETTER: char = 'w';
    const PAGE: usize = 2;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_uuid().as_bytes().to_vec()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self::from_uuid)
    }
}

impl Place for JobId {
    const LETTER: char = 'j';
    const PAGE: usize = 2;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_uuid().as_bytes().to_vec()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self::from_uuid)
    }
}

impl Place for AuditId {
    const LETTER: char = 'a';
    const PAGE: usize = 2;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_uuid().as_bytes().to_vec()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self::from_uuid)
    }
}

impl Place for DeliveryPlace {
    const LETTER: char = 'd';
    const PAGE: usize = 3;

    fn to_bytes(&self) -> Vec<u8> {
        [self.micros.to_be_bytes().as_slice(), self.id.as_uuid().as_bytes()].concat()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (micros, id) = bytes.split_first_chunk()?;
        let id = DeliveryId::from_uuid(Uuid::from_slice(id).ok()?);
        Some(Self { micros: i64::from_be_bytes(*micros), id })
    }
}

impl Listed for WebhookWithStats {
    type Place = WebhookId;

    fn place(&self) -> WebhookId {
        self.webhook.id
    }
}

impl Listed for Job {
    type Place = JobId;

    fn place(&self) -> JobId {
        self.id
    }
}

impl Listed for AuditRow {
    type Place = AuditId;

    fn place(&self) -> AuditId {
        self.id
    }
}

impl Listed for DeliveryRow {
    type Place = DeliveryPlace;

    fn place(&self) -> DeliveryPlace {
        DeliveryPlace::of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_by_its_own_list_only() {
        let webhook = WebhookId::generate();
        let text = write(&webhook, 70_000);
        assert_eq!((text.len(), read(&text)), (25, Some((webhook, 65_535))));
        assert_eq!(read::<DeliveryPlace>(&text), None);
        assert_eq!(read::<JobId>(&text), None, "of the same length");
        let id = DeliveryId::from_uuid(Uuid::now_v7());
        for micros in [i64::MIN, 0, i64::MAX] {
            let place = DeliveryPlace { micros, id };
            let text = write(&place, 1_001);
            assert_eq!((text.len(), read(&text)), (37, Some((place, 1_001))));
            assert_eq!(read::<WebhookId>(&text), None);
        }
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        let good = write(&WebhookId::generate(), 2);
        for wrong in
            ["", "w", "x", &good[1..], &good[..24], &format!("{good}A"), &good.replace('w', "ä")]
        {
            assert_eq!(read::<WebhookId>(wrong), None, "{wrong}");
        }
    }
}
