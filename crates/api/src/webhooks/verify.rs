//! `POST /v1/webhooks/{webhook_id}/verify`, and the question that a new endpoint is asked unasked.

use std::sync::LazyLock;

use actix_web::web::{Data, Path};
use delivery::Endpoint;
use domain::{Challenge, Webhook};
use rand::RngExt;
use serde::Serialize;
use store::{Action, Deed, Store};
use telemetry::{Counter, KeyValue};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::Api;
use crate::caller::Writer;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::openapi::parameters::WebhookPath;
use crate::openapi::schema;
use crate::view::{seconds, verification};
use crate::webhooks::webhook_id;

static CHALLENGES: LazyLock<Counter<u64>> = LazyLock::new(|| {
    telemetry::meter()
        .u64_counter("api_endpoint_challenges")
        .with_description("Endpoints that were asked whether they want to be told, by the outcome")
        .build()
});

/// What is said of an answer that proves nothing.
const NO_PROOF: &str = "the endpoint answered, and not with the HMAC of the challenge; \
    docs/receivers.md shows how";

/// What is said when the question was about something else.
const CHANGED: &str = "the webhook was changed while its endpoint was asked; verify it again";

/// Whether an endpoint proved that it wants to be told.
#[derive(Serialize, ToSchema)]
#[schema(as = Verification)]
pub(crate) struct VerificationView {
    #[schema(schema_with = schema::verification)]
    verification: &'static str,
    /// When it proved that; null before, and of a webhook that never had to be verified.
    #[schema(required, format = DateTime)]
    verified_at: Option<String>,
    /// Why it is still pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// The status of the endpoint's answer, where one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status_code: Option<u16>,
}

impl VerificationView {
    fn new(webhook: &Webhook, error: Option<String>, status_code: Option<u16>) -> Self {
        let verified_at = webhook.verified_at.map(seconds);
        Self { verification: verification(webhook), verified_at, error, status_code }
    }
}

/// Verify a webhook's endpoint
///
/// Asks the endpoint of a pending webhook, with a signed challenge, whether it wants to be told. A
/// webhook that is not pending is left alone. At most 10 a minute.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook_id}/verify", operation_id = "verifyWebhook",
    tag = "Webhooks",
    params(WebhookPath),
    responses((status = 200, description = "What came of it.", body = VerificationView)),
)]
pub(crate) async fn verify(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
) -> Result<Success<VerificationView>, ApiError> {
    let store = api.acting(&caller);
    let webhook = store.webhook(&caller.user, webhook_id(&path)?).await?.webhook;
    let deed = Deed::on_webhook(Action::WebhookVerify, &caller.user, webhook.id);
    if webhook.pending_since.is_none() {
        store.note_done(&deed.outcome("left alone")).await;
        return Ok(Success::ok(VerificationView::new(&webhook, None, None)));
    }
    let asked = ask(&api, &store, &webhook).await?;
    // What is proved is noted with the change.
    if asked.error.is_some() {
        store.note_done(&deed.outcome("still pending")).await;
    }
    Ok(Success::ok(asked))
}

/// Asks the endpoint of a webhook that is pending, beside the answer to whoever changed it. When
/// it fails, or is over the limit, the webhook stays pending: its owner has it asked again.
pub(crate) fn ask_soon(api: &Data<Api>, webhook: &Webhook) {
    if webhook.pending_since.is_none() {
        return;
    }
    let (api, webhook) = (api.clone(), webhook.clone());
    actix_web::rt::spawn(async move {
        let asked = ask(&api, &api.store, &webhook).await;
        let reason = match asked {
            Ok(VerificationView { error: None, .. }) => return,
            Ok(VerificationView { error: Some(reason), .. }) => reason,
            Err(error) => error.to_string(),
        };
        tracing::info!(webhook.id = %webhook.id, "{} stays pending: {reason}", webhook.id);
    });
}

/// Asks once. The challenge is known to nobody before, and to nobody after: an answer counts for
/// this request alone, and only for the host and the secret that were asked.
async fn ask(api: &Api, store: &Store, webhook: &Webhook) -> Result<VerificationView, ApiError> {
    let endpoint = Endpoint::new(webhook, OffsetDateTime::now_utc()).map_err(ApiError::internal)?;
    api.limits.count_challenge(&webhook.user, endpoint.authority()).inspect_err(|_| {
        note("limited");
    })?;
    let challenge = Challenge::from_random(rand::rng().random());
    let report = api.sender.ask(&endpoint, &challenge).await;
    let status = report.status;
    if let Some(failure) = report.failure {
        note("failed");
        return Ok(VerificationView::new(webhook, Some(failure.text), status));
    }
    if !challenge.is_answered_by(&report.response, &webhook.secret) {
        note("no_proof");
        return Ok(VerificationView::new(webhook, Some(NO_PROOF.to_owned()), status));
    }
    let Some(proved) = store.endpoint_proved(webhook).await? else {
        note("changed");
        return Ok(VerificationView::new(webhook, Some(CHANGED.to_owned()), status));
    };
    note("verified");
    tracing::info!(webhook.id = %webhook.id, "the endpoint of {} is verified", webhook.id);
    super::announce(api, &webhook.user, webhook.id).await;
    Ok(VerificationView::new(&proved, None, status))
}

fn note(outcome: &'static str) {
    CHALLENGES.add(1, &[KeyValue::new("outcome", outcome)]);
}
