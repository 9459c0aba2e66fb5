//! Events in requests: read as the broker's consumers read them, and where that fails, looked at
//! field by field, so that the publisher reads everything that is wrong at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use domain::{Event, EventId, EventType, MAX_EVENT_BYTES, Origin, Rejection, UserId};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{ApiError, FieldError};
use crate::seed::Seed;

/// Events of one request, at most.
pub(crate) const BATCH: usize = 1_000;

/// `{"events": […]}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch<'a> {
    #[serde(borrow)]
    pub(crate) events: Items<'a>,
}

/// The texts of a list, of which no more are kept than may be sent.
pub(crate) struct Items<'a> {
    pub(crate) texts: Vec<&'a RawValue>,
    pub(crate) count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
                let mut texts = Vec::new();
                while texts.len() < BATCH
                    && let Some(text) = list.next_element()?
                {
                    texts.push(text);
                }
                let mut count = texts.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Items { texts, count })
            }
        }
        d.deserialize_seq(List)
    }
}

/// The fields of an event, not looked at.
struct Fields<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
                    if fields.contains_key(&key) {
                        return Err(A::Error::custom(format!("the field {key:?} stands twice")));
                    }
                    fields.insert(key, value);
                }
                Ok(Fields(fields))
            }
        }
        d.deserialize_map(Object)
    }
}

/// What may stand in an event, and what may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(rename = "event")]
    _event: IgnoredAny,
    #[serde(rename = "user_id")]
    _user: IgnoredAny,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

/// The event of a JSON text, the request's `index`th, with id and time made from `seed` where
/// they are left out. `data` stays byte for byte.
///
/// # Errors
/// [`ApiError::Invalid`] with everything that is wrong, [`ApiError::Malformed`],
/// [`ApiError::TooLarge`].
pub(crate) fn read(
    text: &str,
    traceparent: Option<&str>,
    seed: Seed,
    index: usize,
) -> Result<Event, ApiError> {
    if text.len() > MAX_EVENT_BYTES {
        return Err(ApiError::TooLarge(MAX_EVENT_BYTES));
    }
    let Ok(shape) = serde_json::from_str::<Shape<'_>>(text) else {
        return Err(explain(text, None));
    };
    let origin = Origin {
        message_id: shape.id.is_none().then(|| seed.event(index).to_string()),
        timestamp: shape.timestamp.is_none().then(|| seed.at().unix_timestamp()),
        traceparent: traceparent.map(str::to_owned),
        routing_key: None,
    };
    Event::from_json(text.as_bytes(), &origin).map_err(|rejection| explain(text, Some(rejection)))
}

/// Everything that is wrong with a text that is no event.
fn explain(text: &str, rejection: Option<Rejection>) -> ApiError {
    let fields: Fields<'_> = match serde_json::from_str(text) {
        Ok(fields) => fields,
        Err(e) if e.is_data() && !text.trim_start().starts_with('{') => {
            return ApiError::Invalid(vec![FieldError::new("body", "must be a JSON object")]);
        }
        Err(e) => return ApiError::Malformed(e.to_string()),
    };
    if fields.0.contains_key("events") {
        let message = "must be a list of events, with no other field beside it";
        return ApiError::Invalid(vec![FieldError::new("events", message)]);
    }
    let mut errors = fields.problems();
    if let (true, Some(rejection)) = (errors.is_empty(), rejection) {
        errors.push(FieldError::new(field_of(rejection.code), rejection.message));
    }
    ApiError::Invalid(errors)
}

impl Fields<'_> {
    fn problems(&self) -> Vec<FieldError> {
        let known = ["id", "event", "timestamp", "user_id", "data"];
        let unknown = self.0.keys().filter(|name| !known.contains(&name.as_ref()));
        let mut errors: Vec<FieldError> = unknown
            .map(|name| FieldError::new(name.as_ref(), "is not a field of an event"))
            .collect();
        let id = "must be 1 to 64 letters, digits, `.`, `_` or `-`; it may be left out";
        let event = "must be an event type; GET /v1/webhooks/events lists them";
        let time = "must be a time such as 2026-02-02T12:00:00Z; it may be left out";
        let user = "must be 1 to 128 printable ASCII characters without spaces";
        errors.extend(self.text("id", false, is::<EventId>, id));
        errors.extend(self.text("event", true, is::<EventType>, event));
        errors.extend(self.text("timestamp", false, is_time, time));
        errors.extend(self.text("user_id", true, is::<UserId>, user));
        if !self.0.get("data").is_some_and(|data| data.get().starts_with('{')) {
            errors.push(FieldError::new("data", "must be a JSON object"));
        }
        errors
    }

    /// What is wrong with a field that must be a text.
    fn text(
        &self,
        name: &str,
        required: bool,
        right: fn(&str) -> bool,
        expected: &str,
    ) -> Option<FieldError> {
        let given = self.0.get(name).filter(|raw| raw.get() != "null");
        let fine = match given {
            None => !required,
            Some(raw) => serde_json::from_str::<String>(raw.get()).is_ok_and(|text| right(&text)),
        };
        (!fine).then(|| FieldError::new(name, expected))
    }
}

fn is<T: FromStr>(text: &str) -> bool {
    text.parse::<T>().is_ok()
}

fn is_time(text: &str) -> bool {
    text.len() <= 64 && OffsetDateTime::parse(text, &Rfc3339).is_ok()
}

/// The field that a rejection is about, where no look at the fields by themselves finds it.
fn field_of(code: &str) -> &'static str {
    match code {
        "invalid_project_id" => "data.project_id",
        _ => "data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Event, ApiError> {
        super::read(text, None, Seed(uuid::Uuid::now_v7()), 0)
    }

    const GOOD: &str = r#""event":"scrape.completed","user_id":"usr_1","data":{"n":1.0}"#;

    fn wrong(text: &str) -> Vec<String> {
        match read(text).unwrap_err() {
            ApiError::Invalid(errors) => errors.into_iter().map(|e| e.field).collect(),
            other => panic!("{text}: {other}"),
        }
    }

    #[test]
    fn what_may_be_left_out_is_made() {
        for text in [format!("{{{GOOD}}}"), format!(r#"{{"id":null,"timestamp":null,{GOOD}}}"#)] {
            let event = read(&text).unwrap();
            assert!(event.id.as_str().starts_with("evt_"));
            assert!((event.occurred_at() - OffsetDateTime::now_utc()).abs().whole_seconds() < 5);
            assert_eq!(event.data(), r#"{"n":1.0}"#);
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let text = r#"{"id":"a b","event":"x","timestamp":"today","user_id":7,"data":[],"more":1}"#;
        assert_eq!(wrong(text), ["more", "id", "event", "timestamp", "user_id", "data"]);
        assert_eq!(wrong("{}"), ["event", "user_id", "data"]);
    }

    #[test]
    fn what_only_the_event_as_a_whole_shows_is_named_too() {
        let of = |data: &str| {
            wrong(&format!(r#"{{"event":"scrape.failed","user_id":"u","data":{data}}}"#))
        };
        assert_eq!(of(r#"{"project_id":7}"#), ["data.project_id"]);
        assert_eq!(of(r#"{"x":"\ud800"}"#), ["data"]);
        assert_eq!(of(&format!(r#"{{"x":{}{}}}"#, "[".repeat(127), "]".repeat(127))), ["data"]);
    }

    #[test]
    fn a_batch_keeps_no_more_than_it_may_have() {
        let text = format!(r#"{{"events":[{}]}}"#, vec!["1"; 5_000].join(","));
        let batch: Batch<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!((batch.events.texts.len(), batch.events.count), (BATCH, 5_000));
    }

    #[test]
    fn what_is_no_object_and_what_is_no_json_are_told_apart() {
        assert_eq!(wrong("[]"), ["body"]);
        assert_eq!(wrong(r#"{"events":{}}"#), ["events"]);
        for text in ["", "{", r#"{"id":"a","id":"b"}"#, "{} {}", "\u{feff}{}"] {
            assert!(matches!(read(text), Err(ApiError::Malformed(_))), "{text}");
        }
    }
}
