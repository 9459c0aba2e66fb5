//! An event, read once from what a publisher sent and then carried as the very bytes that
//! endpoints and browsers receive (`docs/publishers.md`).

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::id::derive_uuid;
use crate::json_scan::{self, Unsound};
use crate::{EventId, EventType, MAX_EVENT_BYTES, MAX_EVENT_DEPTH, ProjectId, UserId, proto};

/// Something that happened in Studio, owned by one user. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Event {
    /// Chosen by the publisher; unique per user.
    pub id: EventId,
    /// What happened.
    pub kind: EventType,
    /// When, as published (RFC 3339): the value of `X-Sentimatrix-Timestamp`.
    pub timestamp: Box<str>,
    /// Whose it is: nobody else is told.
    pub user: UserId,
    /// `data.project_id`, where there is one.
    pub project: Option<ProjectId>,
    /// The publisher's trace (W3C `traceparent`), passed on to endpoints.
    pub traceparent: Option<Box<str>>,
    /// `{"id":…,"event":…,"timestamp":…,"data":…}`: what is signed and sent, byte for byte.
    pub payload: Bytes,
    data_at: usize,
    key: EventKey,
}

/// Identifies an event of a user in the store: 16 bytes derived from both ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(pub Uuid);

/// What a message carries beside its body, for events that leave `id` or `timestamp` to it.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The AMQP property `message_id`.
    pub message_id: Option<String>,
    /// The AMQP property `timestamp`, in unix seconds.
    pub timestamp: Option<i64>,
    /// The routing key; must equal the event's type where it is given.
    pub routing_key: Option<String>,
    /// The header `traceparent`; left out when it is none.
    pub traceparent: Option<String>,
}

/// Why a message is no event. It goes to `studio.rejected` with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// A short constant for headers and metrics, such as `unknown_type`.
    pub code: &'static str,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Rejection {
    /// The code of a message that can be read, and ended the process that worked on it.
    pub const ENDS_THE_PROCESS: &str = "ends_the_process";

    /// A rejection with this reason.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

#[derive(Deserialize)]
struct Published<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Project<'a> {
    #[serde(borrow)]
    project_id: Option<Cow<'a, str>>,
}

/// The fields of an event before they are checked.
struct Parts<'a> {
    id: Option<&'a str>,
    event: Option<&'a str>,
    timestamp: Option<&'a str>,
    user: Option<&'a str>,
    data: Option<&'a str>,
}

impl Event {
    /// Reads the JSON form. Other top-level fields are ignored.
    ///
    /// # Errors
    /// [`Rejection`] when the body is over 256 KiB, no JSON object, or a field is missing or
    /// wrong.
    pub fn from_json(body: &[u8], origin: &Origin) -> Result<Self, Rejection> {
        check_size(body)?;
        let text = std::str::from_utf8(body)
            .map_err(|e| Rejection::new("not_utf8", format!("the body is not UTF-8: {e}")))?;
        let published: Published<'_> = serde_json::from_str(text).map_err(not_json)?;
        Self::from_parts(
            &Parts {
                id: published.id.as_deref(),
                event: published.event.as_deref(),
                timestamp: published.timestamp.as_deref(),
                user: published.user_id.as_deref(),
                data: published.data.map(RawValue::get),
            },
            origin,
        )
    }

    /// Reads the protobuf form (`proto/event.proto`).
    ///
    /// # Errors
    /// [`Rejection`] as for JSON, and when the body is no protobuf message.
    pub fn from_protobuf(body: &[u8], origin: &Origin) -> Result<Self, Rejection> {
        check_size(body)?;
        let published = proto::Event::decode(body).map_err(|e| {
            Rejection::new("not_protobuf", format!("the body is no protobuf Event: {e}"))
        })?;
        let data = std::str::from_utf8(&published.data)
            .map_err(|e| Rejection::new("not_utf8", format!("`data` is not UTF-8: {e}")))?;
        // Parsed here, because only the JSON form has had its `data` parsed on the way.
        let data: &RawValue = if data.is_empty() {
            return Err(missing("data", "the event's JSON object"));
        } else {
            serde_json::from_str(data).map_err(not_json)?
        };
        let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        let (id, event) = (given(&published.id), given(&published.event));
        let (timestamp, user) = (given(&published.timestamp), given(&published.user_id));
        Self::from_parts(
            &Parts {
                id: id.as_deref(),
                event: event.as_deref(),
                timestamp: timestamp.as_deref(),
                user: user.as_deref(),
                data: Some(data.get()),
            },
            origin,
        )
    }

    fn from_parts(parts: &Parts<'_>, origin: &Origin) -> Result<Self, Rejection> {
        let kind = event_type(parts.event, origin)?;
        let id: EventId = parts
            .id
            .or(origin.message_id.as_deref())
            .ok_or_else(|| missing("id", "a text of 1 to 64 letters, digits, `.`, `_` or `-`, or the property message_id"))?
            .parse()
            .map_err(|_| Rejection::new("invalid_id", "`id` must be 1 to 64 letters, digits, `.`, `_` or `-`"))?;
        let user: UserId = parts
            .user
            .ok_or_else(|| missing("user_id", "the id of the event's owner"))?
            .parse()
            .map_err(|_| {
                Rejection::new(
                    "invalid_user_id",
                    "`user_id` must be 1 to 128 printable ASCII characters without spaces",
                )
            })?;
        let timestamp = timestamp(parts.timestamp, origin)?;
        let data = parts.data.ok_or_else(|| missing("data", "a JSON object"))?;
        let project = project(data)?;
        let (payload, data_at) = compose(&id, kind, &timestamp, data);
        let traceparent = origin.traceparent.as_deref().filter(|text| is_traceparent(text));
        let traceparent = traceparent.map(Box::from);
        let key = EventKey::of(&user, &id);
        Ok(Self { id, kind, timestamp, user, project, traceparent, payload, data_at, key })
    }

    /// An event from what the store or a message of our own carries, already checked once.
    ///
    /// # Errors
    /// [`Rejection`] when `payload` is not what [`Event::payload`] was.
    pub fn from_payload(user: UserId, payload: Bytes) -> Result<Self, Rejection> {
        let event = Self::from_json_of(&payload, user)?;
        Ok(event)
    }

    fn from_json_of(payload: &Bytes, user: UserId) -> Result<Self, Rejection> {
        let text =
            std::str::from_utf8(payload).map_err(|e| Rejection::new("not_utf8", e.to_string()))?;
        let published: Published<'_> = serde_json::from_str(text).map_err(not_json)?;
        let parts = Parts {
            id: published.id.as_deref(),
            event: published.event.as_deref(),
            timestamp: published.timestamp.as_deref(),
            user: Some(user.as_str()),
            data: published.data.map(RawValue::get),
        };
        Self::from_parts(&parts, &Origin::default())
    }

    /// `data`, the very text that was published.
    #[must_use]
    pub fn data(&self) -> &str {
        std::str::from_utf8(self.data_bytes())
            .expect("`data` was text when the payload was composed")
    }

    /// The bytes of [`Event::data`], without looking at them.
    pub(crate) fn data_bytes(&self) -> &[u8] {
        &self.payload[self.data_at..self.payload.len() - 1]
    }

    /// The JSON form of `docs/publishers.md`, owner included: what travels through the broker.
    #[must_use]
    pub fn to_message(&self) -> Bytes {
        let owner = format!(r#""user_id":"{}","#, self.user);
        let split = self.data_at - r#""data":"#.len();
        let mut message = Vec::with_capacity(self.payload.len() + owner.len());
        message.extend_from_slice(&self.payload[..split]);
        message.extend_from_slice(owner.as_bytes());
        message.extend_from_slice(&self.payload[split..]);
        message.into()
    }

    /// The event's identity in the store: the same for every copy that a publisher sends.
    #[must_use]
    pub fn key(&self) -> EventKey {
        self.key
    }

    /// [`Event::timestamp`] as a point in time.
    #[must_use]
    pub fn occurred_at(&self) -> OffsetDateTime {
        OffsetDateTime::parse(&self.timestamp, &Rfc3339)
            .expect("the timestamp was parsed when the event was read")
    }
}

impl EventKey {
    /// The key of `user`'s event `id`.
    #[must_use]
    pub fn of(user: &UserId, id: &EventId) -> Self {
        Self(derive_uuid(id, &[user.as_str().as_bytes(), id.as_str().as_bytes()]))
    }
}

fn check_size(body: &[u8]) -> Result<(), Rejection> {
    if body.len() > MAX_EVENT_BYTES {
        let message =
            format!("the event has {} bytes; at most {MAX_EVENT_BYTES} are taken", body.len());
        return Err(Rejection::new("too_large", message));
    }
    Ok(())
}

fn not_json(error: serde_json::Error) -> Rejection {
    match error.classify() {
        serde_json::error::Category::Data => {
            Rejection::new("wrong_field", format!("a field has the wrong form: {error}"))
        }
        _ => Rejection::new("not_json", format!("the body is no JSON: {error}")),
    }
}

fn missing(field: &str, expected: &str) -> Rejection {
    let code = match field {
        "id" => "missing_id",
        "user_id" => "missing_user_id",
        "event" => "missing_event",
        "timestamp" => "missing_timestamp",
        _ => "missing_data",
    };
    Rejection::new(code, format!("`{field}` is missing: expected {expected}"))
}

fn event_type(name: Option<&str>, origin: &Origin) -> Result<EventType, Rejection> {
    let name = name.ok_or_else(|| missing("event", "one of the twelve event types"))?;
    if let Some(key) = &origin.routing_key
        && key != name
    {
        let message =
            format!("`event` is {:?} but the routing key is {:?}", shorten(name), shorten(key));
        return Err(Rejection::new("routing_key_mismatch", message));
    }
    name.parse().map_err(|e: crate::UnknownEventType| Rejection::new("unknown_type", e.to_string()))
}

fn timestamp(text: Option<&str>, origin: &Origin) -> Result<Box<str>, Rejection> {
    let Some(text) = text else {
        let unix = origin.timestamp.ok_or_else(|| {
            missing("timestamp", "RFC 3339 such as 2026-02-02T12:00:00Z, or the property timestamp")
        })?;
        return OffsetDateTime::from_unix_timestamp(unix)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .map(String::into_boxed_str)
            .ok_or_else(|| {
                Rejection::new("invalid_timestamp", "the property timestamp is out of range")
            });
    };
    let rfc3339 = text.len() <= 64 && OffsetDateTime::parse(text, &Rfc3339).is_ok();
    rfc3339.then(|| text.into()).ok_or_else(|| {
        let message = format!(
            "`timestamp` must be RFC 3339 such as 2026-02-02T12:00:00Z, found {:?}",
            shorten(text)
        );
        Rejection::new("invalid_timestamp", message)
    })
}

fn project(data: &str) -> Result<Option<ProjectId>, Rejection> {
    if !data.starts_with('{') {
        return Err(Rejection::new("invalid_data", "`data` must be a JSON object"));
    }
    json_scan::check(data, MAX_EVENT_DEPTH - 1).map_err(|unsound| match unsound {
        Unsound::TooDeep => Rejection::new(
            "too_deep",
            format!("the event is nested deeper than {MAX_EVENT_DEPTH} levels"),
        ),
        Unsound::LoneSurrogate => Rejection::new(
            "lone_surrogate",
            "`data` holds half of a surrogate pair, which is no character",
        ),
    })?;
    let found: Project<'_> = serde_json::from_str(data).map_err(|e| {
        Rejection::new("invalid_project_id", format!("`data.project_id` must be a text: {e}"))
    })?;
    found.project_id.map(|id| id.parse()).transpose().map_err(|_| {
        Rejection::new(
            "invalid_project_id",
            "`data.project_id` must be 1 to 128 printable ASCII characters without spaces",
        )
    })
}

fn compose(id: &EventId, kind: EventType, timestamp: &str, data: &str) -> (Bytes, usize) {
    // None of the three needs escapes: their forms were checked.
    let head = format!(r#"{{"id":"{id}","event":"{kind}","timestamp":"{timestamp}","data":"#);
    let mut payload = Vec::with_capacity(head.len() + data.len() + 1);
    payload.extend_from_slice(head.as_bytes());
    payload.extend_from_slice(data.as_bytes());
    payload.push(b'}');
    (payload.into(), head.len())
}

/// Whether `text` has the form of W3C Trace Context, section 3.2.
fn is_traceparent(text: &str) -> bool {
    text.len() == 55 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(data: &str) -> String {
        format!(
            r#"{{"id":"evt_1","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{data}}}"#
        )
    }

    fn read(text: &str) -> Result<Event, Rejection> {
        Event::from_json(text.as_bytes(), &Origin::default())
    }

    fn code(text: &str) -> &'static str {
        read(text).unwrap_err().code
    }

    #[test]
    fn data_stays_byte_for_byte() {
        let data = r#"{ "z": -0.20, "a":123456789012345678901234567890,  "u":"\u00e9\/", "e":1E5, "project_id":"p" }"#;
        let event = read(&message(data)).unwrap();
        assert_eq!(event.data(), data);
        let expected = format!(
            r#"{{"id":"evt_1","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","data":{data}}}"#
        );
        assert_eq!(event.payload, expected);
        assert_eq!(event.project.unwrap().as_str(), "p");
    }

    #[test]
    fn the_message_form_is_read_back_as_the_same_event() {
        let event = read(&message(r#"{"project_id":"p","n":[1,2]}"#)).unwrap();
        let again = Event::from_json(&event.to_message(), &Origin::default()).unwrap();
        assert_eq!(again.payload, event.payload);
        assert_eq!(again.user, event.user);
        let stored = Event::from_payload(event.user.clone(), event.payload.clone()).unwrap();
        assert_eq!(stored.payload, event.payload);
    }

    #[test]
    fn id_and_timestamp_may_stand_in_the_properties() {
        let text = r#"{"event":"project.created","user_id":"u","data":{}}"#;
        let origin = Origin {
            message_id: Some("evt_9".into()),
            timestamp: Some(1_770_033_600),
            routing_key: Some("project.created".into()),
            traceparent: None,
        };
        let event = Event::from_json(text.as_bytes(), &origin).unwrap();
        assert_eq!(event.id.as_str(), "evt_9");
        assert_eq!(&*event.timestamp, "2026-02-02T12:00:00Z");
        assert_eq!(read(text).unwrap_err().code, "missing_id");
    }

    #[test]
    fn what_is_no_event_is_rejected_with_its_reason() {
        let ok = message("{}");
        let cases = [
            ("", "not_json"),
            ("[1]", "wrong_field"),
            ("null", "wrong_field"),
            (&ok.replace("evt_1", "evt 1"), "invalid_id"),
            (&ok.replace(r#""id":"evt_1","#, ""), "missing_id"),
            (&ok.replace(r#""user_id":"usr_1","#, ""), "missing_user_id"),
            (&ok.replace("usr_1", ""), "invalid_user_id"),
            (&ok.replace("scrape.completed", "scrape.exploded"), "unknown_type"),
            (&ok.replace("2026-02-02T12:00:00Z", "yesterday"), "invalid_timestamp"),
            (&ok.replace(r#""evt_1""#, "1"), "wrong_field"),
            (&ok.replace(r#","data":{}"#, ""), "missing_data"),
            (&message("[1]"), "invalid_data"),
            (&message(r#"{"project_id":7}"#), "invalid_project_id"),
            (&message(r#"{"a":"\ud800"}"#), "lone_surrogate"),
            (&message(&format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200))), "too_deep"),
            (&ok.replace(r#""id":"#, r#""id":"x","id":"#), "wrong_field"),
            (&ok[..ok.len() - 3], "not_json"),
            (&format!("{ok} x"), "not_json"),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text), expected, "{}", &text[..text.len().min(120)]);
        }
        assert_eq!(Event::from_json(b"\xff\xfe", &Origin::default()).unwrap_err().code, "not_utf8");
        let large = message(&format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_EVENT_BYTES)));
        assert_eq!(code(&large), "too_large");
    }

    #[test]
    fn a_routing_key_that_names_another_type_is_refused() {
        let origin = Origin { routing_key: Some("scrape.failed".into()), ..Origin::default() };
        let rejection = Event::from_json(message("{}").as_bytes(), &origin).unwrap_err();
        assert_eq!(rejection.code, "routing_key_mismatch");
    }

    #[test]
    fn protobuf_carries_the_same_bytes() {
        let data = r#"{"change": -0.20, "project_id":"p"}"#;
        let published = proto::Event {
            id: "evt_1".into(),
            event: "scrape.completed".into(),
            timestamp: "2026-02-02T12:00:00Z".into(),
            user_id: "usr_1".into(),
            data: Bytes::copy_from_slice(data.as_bytes()),
        };
        let event = Event::from_protobuf(&published.encode_to_vec(), &Origin::default()).unwrap();
        assert_eq!(event.payload, read(&message(data)).unwrap().payload);
        assert_eq!(
            Event::from_protobuf(b"garbage", &Origin::default()).unwrap_err().code,
            "not_protobuf"
        );
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_or_rejected(body: Vec<u8>) {
            drop(Event::from_json(&body, &Origin::default()));
            drop(Event::from_protobuf(&body, &Origin::default()));
        }
    }
}
