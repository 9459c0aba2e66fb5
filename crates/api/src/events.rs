//! `POST /v1/events` and `GET /v1/events/{event_id}`

use actix_web::web::{Data, Path};
use broker::{Outgoing, PublishError, Target};
use domain::{Event, EventId, Origin, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::Api;
use crate::body::EventsBody;
use crate::caller::{Reader, Service};
use crate::envelope::Success;
use crate::error::{ApiError, FieldError};
use crate::view::{LogView, seconds};

/// Events of one request, at most.
const BATCH: usize = 1_000;

/// Largest single event with its frame, bytes.
const SINGLE: usize = domain::MAX_EVENT_BYTES + 1_024;

/// The answer to one event, or to each of a batch.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Published {
    One(Accepted),
    Many { accepted: usize, rejected: usize, results: Vec<ItemResult> },
}

#[derive(Serialize)]
pub(crate) struct Accepted {
    id: EventId,
    event: &'static str,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum ItemResult {
    Accepted { id: EventId },
    Rejected { code: &'static str, message: String },
}

/// What tells a batch from an event, and what may be left out.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    events: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

/// Takes one event, or `{"events": […]}`; answers 202 once the broker has confirmed them.
pub(crate) async fn publish(
    api: Data<Api>,
    _caller: Service,
    body: EventsBody,
) -> Result<Success<Published>, ApiError> {
    let text = std::str::from_utf8(&body.0).map_err(|e| ApiError::Malformed(e.to_string()))?;
    let shape = shape(text)?;
    let Some(events) = shape.events else {
        if text.len() > SINGLE {
            return Err(ApiError::TooLarge(SINGLE));
        }
        return publish_one(&api, text).await.map(Success::accepted);
    };
    if events.is_empty() || events.len() > BATCH {
        let message = format!("must have 1 to {BATCH} entries, found {}", events.len());
        return Err(ApiError::Invalid(vec![FieldError::new("events", message)]));
    }
    let read: Vec<_> = events.iter().map(|event| read(event.get())).collect();
    publish_many(&api, read).await.map(Success::accepted)
}

fn shape(text: &str) -> Result<Shape<'_>, ApiError> {
    serde_json::from_str(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => {
            let message = "must be an event, or an object with a list \"events\"";
            ApiError::Invalid(vec![FieldError::new("body", message)])
        }
        _ => ApiError::Malformed(e.to_string()),
    })
}

async fn publish_one(api: &Api, text: &str) -> Result<Published, ApiError> {
    let event = read(text).map_err(|rejection| {
        ApiError::Invalid(vec![FieldError::new(field_of(rejection.code), rejection.message)])
    })?;
    api.broker
        .publish(Target::Events(event.kind), Outgoing::event(&event))
        .await
        .map_err(not_confirmed)?;
    Ok(Published::One(Accepted { event: event.kind.as_str(), id: event.id }))
}

async fn publish_many(
    api: &Api,
    read: Vec<Result<Event, Rejection>>,
) -> Result<Published, ApiError> {
    let messages = read
        .iter()
        .flatten()
        .map(|event| (Target::Events(event.kind), Outgoing::event(event)))
        .collect();
    let mut confirmed = api.broker.publish_all(messages).await.into_iter();
    let mut results = Vec::with_capacity(read.len());
    let mut accepted = 0;
    for event in read {
        results.push(match event {
            Err(Rejection { code, message }) => ItemResult::Rejected { code, message },
            Ok(event) => {
                // All or none: what is not confirmed is published again with the same ids, and
                // what was confirmed is recognised then.
                confirmed.next().unwrap_or(Ok(())).map_err(not_confirmed)?;
                accepted += 1;
                ItemResult::Accepted { id: event.id }
            }
        });
    }
    Ok(Published::Many { accepted, rejected: results.len() - accepted, results })
}

/// An event of its JSON text, with id and time made where they are left out.
fn read(text: &str) -> Result<Event, Rejection> {
    let shape: Shape<'_> = serde_json::from_str(text)
        .map_err(|e| Rejection::new("wrong_field", format!("must be an event: {e}")))?;
    let origin = Origin {
        message_id: shape.id.is_none().then(|| EventId::generate().to_string()),
        timestamp: shape.timestamp.is_none().then(|| OffsetDateTime::now_utc().unix_timestamp()),
        ..Origin::default()
    };
    Event::from_json(text.as_bytes(), &origin)
}

/// The field that a rejection is about.
fn field_of(code: &str) -> &'static str {
    match code {
        "missing_id" | "invalid_id" => "id",
        "missing_event" | "unknown_type" => "event",
        "missing_timestamp" | "invalid_timestamp" => "timestamp",
        "missing_user_id" | "invalid_user_id" => "user_id",
        "invalid_project_id" => "data.project_id",
        "missing_data" | "invalid_data" | "too_deep" | "lone_surrogate" => "data",
        _ => "body",
    }
}

/// What the broker did not confirm may be kept or not: it is to be published again.
pub(crate) fn not_confirmed(error: PublishError) -> ApiError {
    match error {
        PublishError::TooLarge(_) => ApiError::TooLarge(domain::MAX_EVENT_BYTES),
        PublishError::Unavailable(reason) | PublishError::Refused(reason) => {
            tracing::warn!("a publish was not confirmed: {reason}");
            ApiError::Unavailable("the broker")
        }
    }
}

/// An event and what became of it.
#[derive(Serialize)]
pub(crate) struct EventView {
    id: EventId,
    event: &'static str,
    created_at: String,
    payload: Box<RawValue>,
    deliveries: Vec<EventDelivery>,
}

#[derive(Serialize)]
struct EventDelivery {
    webhook_id: String,
    #[serde(flatten)]
    log: LogView,
}

/// One event of the user, with the deliveries that it caused.
pub(crate) async fn get(
    api: Data<Api>,
    caller: Reader,
    path: Path<String>,
) -> Result<Success<EventView>, ApiError> {
    let id: EventId = path.parse().map_err(|_| ApiError::NotFound)?;
    let (event, rows) = api.store.event(&caller.user, &id).await?;
    let payload = String::from_utf8_lossy(&event.payload).into_owned();
    Ok(Success::ok(EventView {
        id: event.id,
        event: event.kind.as_str(),
        created_at: seconds(event.created_at),
        payload: RawValue::from_string(payload).map_err(|_| ApiError::Internal)?,
        deliveries: rows
            .into_iter()
            .map(|row| EventDelivery { webhook_id: row.webhook.to_string(), log: row.into() })
            .collect(),
    }))
}
