//! An event as a stranger writes it, from what `docs/publishers.md` says.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleEvent {
    /// 1 to 64 of `[A-Za-z0-9._-]`.
    pub id: String,
    /// The owner.
    pub user: String,
    /// The event type, also the routing key.
    pub kind: String,
    /// RFC 3339.
    pub timestamp: String,
    /// The JSON object `data`, as text: it must arrive byte for byte.
    pub data: String,
}

impl SampleEvent {
    /// A `scrape.completed` of `user`'s project `project`, with the time of its making in
    /// `data.sent_us`.
    #[must_use]
    pub fn new(id: impl Into<String>, user: &str, project: &str) -> Self {
        let data = format!(
            r#"{{"project_id":"{project}","project_name":"Amazon Tracker","job_id":"job_def456","status":"completed","targets_scraped":5,"results_count":150,"new_results":25,"duration_seconds":45,"errors":[],"sent_us":{}}}"#,
            unix_micros()
        );
        Self {
            id: id.into(),
            user: user.to_owned(),
            kind: "scrape.completed".to_owned(),
            timestamp: now(),
            data,
        }
    }

    /// The same event as another type.
    #[must_use]
    pub fn of_kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.kind);
        self
    }

    /// The same event with this JSON object as `data`.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<String>) -> Self {
        self.data = data.into();
        self
    }

    /// The body of the AMQP message and of `POST /v1/events`.
    #[must_use]
    pub fn message(&self) -> String {
        let Self { id, user, kind, timestamp, data } = self;
        format!(
            r#"{{"id":"{id}","event":"{kind}","timestamp":"{timestamp}","user_id":"{user}","data":{data}}}"#
        )
    }

    /// What endpoints and browsers must receive, byte for byte.
    #[must_use]
    pub fn payload(&self) -> String {
        let Self { id, kind, timestamp, data, .. } = self;
        format!(r#"{{"id":"{id}","event":"{kind}","timestamp":"{timestamp}","data":{data}}}"#)
    }

    /// SHA-256 of [`SampleEvent::payload`].
    #[must_use]
    pub fn payload_hash(&self) -> [u8; 32] {
        Sha256::digest(self.payload()).into()
    }

    /// `data.project_id`, where it is a text.
    #[must_use]
    pub fn project(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Data {
            project_id: Option<String>,
        }
        let data: &RawValue = serde_json::from_str(&self.data).ok()?;
        serde_json::from_str::<Data>(data.get()).ok()?.project_id
    }
}

/// Microseconds since 1970, by the machine's clock.
#[must_use]
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// `data.sent_us` of a payload, found without parsing: the receiver shares its processor with
/// what is measured.
#[must_use]
pub fn sent_micros(payload: &[u8]) -> Option<u64> {
    const KEY: &[u8] = br#""sent_us":"#;
    let at = payload.windows(KEY.len()).rposition(|part| part == KEY)? + KEY.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(
        digits.fold(0, |number: u64, byte| {
            number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'))
        }),
    )
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_else(|_| "2026-02-02T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_the_message_without_its_owner() {
        let event = SampleEvent::new("evt_1", "usr_1", "proj_1").with_data(r#"{"n":-0.20}"#);
        let event = SampleEvent { timestamp: "2026-02-02T12:00:00Z".into(), ..event };
        let head =
            r#"{"id":"evt_1","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","#;
        assert_eq!(event.payload(), format!(r#"{head}"data":{{"n":-0.20}}}}"#));
        assert_eq!(event.message(), format!(r#"{head}"user_id":"usr_1","data":{{"n":-0.20}}}}"#));
        assert_eq!(event.project(), None);
    }

    #[test]
    fn an_event_carries_its_project_and_the_time_of_its_making() {
        let event = SampleEvent::new("evt_1", "usr_1", "proj_1");
        assert_eq!(event.project().as_deref(), Some("proj_1"));
        let sent = sent_micros(event.payload().as_bytes()).unwrap();
        assert!(unix_micros() - sent < 10_000_000);
    }
}
