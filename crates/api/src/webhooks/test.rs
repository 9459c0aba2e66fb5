//! `POST /v1/webhooks/{webhook_id}/test`

use actix_web::web::{Data, Path};
use delivery::Endpoint;
use domain::{
    AttemptReport, Cause, DeliveryId, DeliveryStatus, Event, EventSet, EventType, Obstacle, Origin,
    UserId, Webhook,
};
use serde::Serialize;
use serde_json::Value;
use store::{Action, Deed, Outcome, Waits};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::Api;
use crate::body::OptionalFields;
use crate::caller::Writer;
use crate::envelope::Success;
use crate::error::{ApiError, FieldError};
use crate::openapi::parameters::WebhookPath;
use crate::openapi::requests::TestRequest;
use crate::openapi::schema;
use crate::seed::Seed;
use crate::validation::Form;
use crate::view::seconds;
use crate::webhooks::webhook_id;

/// What came of a test: both forms of the specification.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = TestResult)]
pub(crate) enum TestView {
    /// The endpoint took it.
    Delivered {
        /// Always true.
        #[schema(schema_with = schema::always)]
        delivered: bool,
        #[schema(required)]
        status_code: Option<u16>,
        response_time_ms: u64,
        response_body: String,
        log_id: String,
    },
    /// It did not, or could not be reached.
    Failed {
        /// Always false.
        #[schema(schema_with = schema::never)]
        delivered: bool,
        error: String,
        #[schema(required)]
        status_code: Option<u16>,
        response_time_ms: u64,
        response_body: String,
        log_id: String,
    },
}

/// Test a webhook
///
/// Sends a sample of the asked, or the first subscribed, type by the way that events go. Once: a
/// test is never retried. It appears in the logs, marked as a test. At most 10 a minute.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook_id}/test", operation_id = "testWebhook", tag = "Webhooks",
    params(WebhookPath),
    request_body = Option<TestRequest>,
    responses(
        (status = 200, description = "What came of it.", body = TestView),
        (status = 409, description = "The webhook's endpoint is not verified."),
    ),
)]
pub(crate) async fn test(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
    seed: Seed,
    fields: OptionalFields,
) -> Result<Success<TestView>, ApiError> {
    let found = api.store.webhook(&caller.user, webhook_id(&path)?).await?;
    let asked = match fields.0 {
        None => None,
        Some(fields) => {
            let mut form = Form::new(fields);
            let asked = form.optional("event", event_type);
            form.finish()?;
            asked
        }
    };
    if found.webhook.pending_since.is_some() {
        return Err(Obstacle::Unverified.into());
    }
    api.limits.count_test(&caller.user)?;
    let kind = asked.unwrap_or_else(|| first_subscribed(&found.webhook));
    let event = sample(&caller.user, kind, seed)?;
    let now = OffsetDateTime::now_utc();
    let endpoint = Endpoint::new(&found.webhook, now).map_err(ApiError::internal)?;
    let id = DeliveryId::derive(&caller.user, &event.id, found.webhook.id, "test");
    let report = api.sender.attempt(&endpoint, &event, id, 1).await;
    let view = view(&report, id);
    let status = if report.succeeded() { DeliveryStatus::Success } else { DeliveryStatus::Failed };
    let outcome = Outcome {
        delivery: id,
        webhook: found.webhook.id,
        event,
        cause: Cause::Test,
        attempt: 1,
        report: Some(report),
        status,
        next_attempt_at: None,
        waits: Waits::No,
        reason: None,
    };
    api.store.record(&[outcome]).await?;
    let came_to = if status == DeliveryStatus::Success { "delivered" } else { "not delivered" };
    let deed = Deed::on_webhook(Action::WebhookTest, &caller.user, found.webhook.id);
    api.acting(&caller).note_done(&deed.outcome(came_to)).await;
    Ok(Success::ok(view))
}

fn event_type(value: Value) -> Result<EventType, Vec<FieldError>> {
    let found = value.as_str().and_then(|name| name.parse().ok());
    found.ok_or_else(|| {
        let message = "must be an event type; GET /v1/webhooks/events lists them";
        vec![FieldError::new("event", message)]
    })
}

fn first_subscribed(webhook: &Webhook) -> EventType {
    let first = webhook.events.first().map_or("*", String::as_str);
    let set = EventSet::parse([first]).unwrap_or_default();
    let found = EventType::ALL.iter().find(|kind| set.contains(**kind));
    found.copied().unwrap_or(EventType::ScrapeCompleted)
}

fn sample(user: &UserId, kind: EventType, seed: Seed) -> Result<Event, ApiError> {
    let text = format!(
        r#"{{"id":"{}","event":"{kind}","timestamp":"{}","user_id":"{user}","data":{}}}"#,
        seed.event(0),
        seconds(seed.at()),
        kind.example_data(),
    );
    Event::from_json(text.as_bytes(), &Origin::default()).map_err(ApiError::internal)
}

fn view(report: &AttemptReport, id: DeliveryId) -> TestView {
    let response_time_ms = u64::try_from(report.response_time().as_millis()).unwrap_or(u64::MAX);
    let response_body = String::from_utf8_lossy(&report.response).into_owned();
    let (status_code, log_id) = (report.status, id.to_string());
    match &report.failure {
        None => TestView::Delivered {
            delivered: true,
            status_code,
            response_time_ms,
            response_body,
            log_id,
        },
        Some(failure) => TestView::Failed {
            delivered: false,
            error: failure.text.clone(),
            status_code,
            response_time_ms,
            response_body,
            log_id,
        },
    }
}
