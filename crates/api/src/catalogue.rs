//! `GET /v1/webhooks/events`

use domain::EventType;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::caller::Reader;
use crate::envelope::Success;
use crate::error::ApiError;

/// An event type, for people who choose what to subscribe to.
#[derive(Serialize)]
pub(crate) struct EventTypeView {
    event: &'static str,
    description: &'static str,
    /// A sample of `data`.
    example: Box<RawValue>,
    /// The JSON Schema of `data`.
    schema: Value,
}

/// Every event type.
pub(crate) async fn list(_caller: Reader) -> Result<Success<Vec<EventTypeView>>, ApiError> {
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
