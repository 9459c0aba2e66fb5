//! `POST /v1/events` and `GET /v1/events/{event_id}`

use actix_web::HttpRequest;
use actix_web::web::{Data, Path};
use broker::{Outgoing, PublishError, Target};
use domain::{Event, EventId};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::Api;
use crate::body::EventsBody;
use crate::caller::{Reader, Service};
use crate::envelope::Success;
use crate::error::{ApiError, FieldError};
use crate::event_input::{BATCH, Batch, read};
use crate::openapi::parameters::EventPath;
use crate::openapi::requests::Publish;
use crate::openapi::schema;
use crate::seed::Seed;
use crate::view::{LogView, seconds};

/// The answer to one event, or to each of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Published {
    /// One event.
    One(Accepted),
    /// A batch: how many were taken, and each of them in the order of the request.
    Many { accepted: usize, rejected: usize, results: Vec<ItemResult> },
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The event's id, given or made.
    #[schema(value_type = String)]
    id: EventId,
    /// Its type.
    #[schema(schema_with = schema::event_type)]
    event: &'static str,
}

/// What became of one event of a batch, in the order of the request.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum ItemResult {
    /// It was taken.
    Accepted {
        /// The event's id, given or made.
        #[schema(value_type = String)]
        id: EventId,
    },
    /// It was not; the message says why.
    Rejected { code: &'static str, message: String, details: Vec<FieldError> },
}

impl From<ApiError> for ItemResult {
    fn from(error: ApiError) -> Self {
        Self::Rejected {
            code: error.code(),
            message: error.to_string(),
            details: error.details().to_vec(),
        }
    }
}

/// Publish events
///
/// Takes one event, or up to 1,000 as `{"events":[…]}`. 202 means that the broker has them on
/// disk. A batch of which some are right is taken in part: each is answered by itself, in the
/// order of the request. On 503 nothing is known of any of them: send the same again, with ids of
/// your own, and what had arrived is recognised.
#[utoipa::path(
    post, path = "/v1/events", operation_id = "publishEvent", tag = "Events",
    request_body = Publish,
    responses((status = 202, description = "What was taken.", body = Published)),
    security(("access_token" = ["service"])),
)]
pub(crate) async fn publish(
    api: Data<Api>,
    Service(caller): Service,
    request: HttpRequest,
    seed: Seed,
    body: EventsBody,
) -> Result<Success<Published>, ApiError> {
    let text = std::str::from_utf8(&body.0).map_err(|e| ApiError::Malformed(e.to_string()))?;
    let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    tracing::debug!(by = %caller.subject, bytes = text.len(), "events come to be published");
    let Ok(Batch { events }) = serde_json::from_str(text) else {
        return publish_one(&api, read(text, trace, seed, 0)?).await.map(Success::accepted);
    };
    if events.count == 0 || events.count > BATCH {
        let message = format!("must have 1 to {BATCH} entries, found {}", events.count);
        return Err(ApiError::Invalid(vec![FieldError::new("events", message)]));
    }
    let texts = events.texts.iter().enumerate();
    let read = texts.map(|(index, text)| read(text.get(), trace, seed, index)).collect();
    publish_many(&api, read).await.map(Success::accepted)
}

async fn publish_one(api: &Api, event: Event) -> Result<Published, ApiError> {
    let (target, message) = message(&event);
    api.broker.publish(target, message).await.map_err(not_confirmed)?;
    Ok(Published::One(Accepted { event: event.kind.as_str(), id: event.id }))
}

fn message(event: &Event) -> (Target, Outgoing) {
    (Target::Events(event.kind), Outgoing::event(event))
}

async fn publish_many(
    api: &Api,
    read: Vec<Result<Event, ApiError>>,
) -> Result<Published, ApiError> {
    if read.iter().all(Result::is_err) {
        return Err(ApiError::Invalid(all_details(read)));
    }
    let messages = read.iter().flatten().map(message).collect();
    // All or none: when one is not confirmed, the answer is 503 and the publisher sends them
    // again with the same ids; those that were confirmed are recognised then.
    for result in api.broker.publish_all(messages).await {
        result.map_err(not_confirmed)?;
    }
    let results: Vec<ItemResult> = read
        .into_iter()
        .map(|event| event.map_or_else(ItemResult::from, |e| ItemResult::Accepted { id: e.id }))
        .collect();
    let accepted = results.iter().filter(|r| matches!(r, ItemResult::Accepted { .. })).count();
    Ok(Published::Many { accepted, rejected: results.len() - accepted, results })
}

/// What is wrong with each of a batch of which nothing is right.
fn all_details(read: Vec<Result<Event, ApiError>>) -> Vec<FieldError> {
    let errors = read.into_iter().enumerate().filter_map(|(i, event)| Some((i, event.err()?)));
    errors
        .flat_map(|(i, error)| match error {
            ApiError::Invalid(details) => details
                .into_iter()
                .map(|d| FieldError::new(format!("events[{i}].{}", d.field), d.message))
                .collect(),
            other => vec![FieldError::new(format!("events[{i}]"), other.to_string())],
        })
        .collect()
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
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventView {
    /// Names it among the user's events.
    #[schema(value_type = String)]
    id: EventId,
    /// Its type.
    #[schema(schema_with = schema::event_type)]
    event: &'static str,
    /// When it was published.
    #[schema(format = DateTime)]
    created_at: String,
    /// What endpoints are sent, byte for byte.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    /// The deliveries that it caused, the oldest first; at most 1,000.
    deliveries: Vec<EventDelivery>,
}

#[derive(Serialize, ToSchema)]
struct EventDelivery {
    /// Whose delivery it is.
    webhook_id: String,
    #[serde(flatten)]
    log: LogView,
}

/// Get an event
///
/// One event of the user, with the deliveries that it caused.
#[utoipa::path(
    get, path = "/v1/events/{event_id}", operation_id = "getEvent", tag = "Events",
    params(EventPath),
    responses((status = 200, description = "The event.", body = EventView)),
)]
pub(crate) async fn get(
    api: Data<Api>,
    Reader(caller): Reader,
    path: Path<String>,
) -> Result<Success<EventView>, ApiError> {
    let id: EventId = path.parse().map_err(|_| ApiError::NotFound)?;
    let (event, rows) = api.store.event(&caller.user, &id).await?;
    let payload = String::from_utf8_lossy(&event.payload).into_owned();
    Ok(Success::ok(EventView {
        id: event.id,
        event: event.kind.as_str(),
        created_at: seconds(event.created_at),
        payload: RawValue::from_string(payload).map_err(ApiError::internal)?,
        deliveries: rows
            .into_iter()
            .map(|row| EventDelivery { webhook_id: row.webhook.to_string(), log: row.into() })
            .collect(),
    }))
}
