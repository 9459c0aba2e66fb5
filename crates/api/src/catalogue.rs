//! `GET /v1/webhooks/events`

use domain::EventType;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::caller::Reader;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::openapi::schema;

/// An event type, for people who choose what to subscribe to.
#[derive(Serialize, ToSchema)]
#[schema(as = EventType)]
pub(crate) struct EventTypeView {
    /// Its name.
    #[schema(schema_with = schema::event_type)]
    event: &'static str,
    /// When it is published.
    description: &'static str,
    /// A sample of `data`.
    #[schema(value_type = Object)]
    example: Box<RawValue>,
    /// The JSON Schema of `data`.
    #[schema(value_type = Object)]
    schema: Value,
}

/// List event types
///
/// Every type of event, with an example of its `data` and the schema of it.
#[utoipa::path(
    get, path = "/v1/webhooks/events", operation_id = "listEventTypes", tag = "Events",
    responses((status = 200, description = "The types.", body = Vec<EventTypeView>)),
)]
pub(crate) async fn list(_: Reader) -> Result<Success<Vec<EventTypeView>>, ApiError> {
    let view = |kind: &EventType| {
        let example = RawValue::from_string(kind.example_data().to_owned());
        Ok(EventTypeView {
            event: kind.as_str(),
            description: kind.description(),
            example: example.map_err(ApiError::internal)?,
            schema: kind.data_schema(),
        })
    };
    EventType::ALL.iter().map(view).collect::<Result<_, _>>().map(Success::ok)
}
