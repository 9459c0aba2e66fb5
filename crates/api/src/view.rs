//! What users see: the specification's fields first and in its order, what goes beyond it after
//! them.

use std::collections::BTreeMap;

use domain::{Cause, FailureKind, ProjectId, SigningKey, SigningScheme, Webhook, WebhookId};
use serde::Serialize;
use serde_json::value::RawValue;
use store::{
    AttemptRow, BacklogDepth, Carried, DeliveryRow, Updated, WebhookStats, WebhookWithStats,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::ApiConfig;
use crate::openapi::{filter, schema};
use crate::sent::RequestView;

/// A time as the specification writes it: whole seconds, `Z`.
pub(crate) fn seconds(at: OffsetDateTime) -> String {
    millis(at.replace_nanosecond(0).expect("zero is a nanosecond"))
}

/// A time to the millisecond.
fn millis(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(at.nanosecond() / 1_000_000 * 1_000_000);
    at.expect("fewer nanoseconds are still a nanosecond")
        .format(&Rfc3339)
        .expect("a stored time has an RFC 3339 form")
}

/// What goes beyond the specification, the same in every answer.
#[derive(Serialize, ToSchema)]
struct Beyond {
    /// Only events of these projects; of all when empty.
    #[schema(value_type = Vec<String>)]
    project_ids: Vec<ProjectId>,
    /// Only events whose `data` passes; every event when null.
    #[schema(schema_with = filter::of_webhook, required)]
    filter: Option<Box<RawValue>>,
    /// Deliveries that are started in a second, at most; no limit of its own when null.
    #[schema(required)]
    rate_limit: Option<u32>,
    /// Whether deliveries of one project go one after the other, in the order of publication.
    ordered: bool,
    /// Sent with every delivery. What holds credentials is shown as `***`.
    headers: BTreeMap<String, String>,
    /// Your own words.
    #[schema(required)]
    description: Option<String>,
    /// Your own keys and values.
    metadata: BTreeMap<String, String>,
    /// Why the product switched it off; null when it did not.
    #[schema(required)]
    disabled_reason: Option<String>,
    /// When it was switched off.
    #[schema(required, format = DateTime)]
    disabled_at: Option<String>,
    /// How `webhook-signature` is made, where it is not by HMAC with the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::signing, required = false)]
    signing: Option<&'static str>,
    /// What receivers check `webhook-signature` with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::public_key, required = false)]
    public_key: Option<String>,
    /// The public key before the last rotation, for as long as deliveries are signed by it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::public_key, required = false)]
    previous_public_key: Option<String>,
    /// Whether its endpoint proved that it wants to be told, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::verification, required = false)]
    verification: Option<&'static str>,
    /// When it proved that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    verified_at: Option<String>,
}

impl Beyond {
    fn of(webhook: &Webhook, config: &ApiConfig) -> Self {
        let key = webhook.signing_key.as_ref();
        let previous = webhook.previous_key(OffsetDateTime::now_utc());
        let public = |key: &SigningKey| key.public_key().to_string();
        let proof = config.verify_endpoints || webhook.pending_since.is_some();
        Self {
            project_ids: webhook.project_ids.clone(),
            filter: webhook.filter.clone().and_then(|json| RawValue::from_string(json).ok()),
            rate_limit: webhook.rate_limit,
            ordered: webhook.ordered,
            headers: webhook.headers.all_shown(),
            description: webhook.description.clone(),
            metadata: webhook.metadata.clone(),
            disabled_reason: webhook.disabled_reason.clone(),
            disabled_at: webhook.disabled_at.map(seconds),
            signing: key.map(|_| SigningScheme::Ed25519.as_str()),
            public_key: key.map(public),
            previous_public_key: previous.map(public),
            verification: proof.then(|| verification(webhook)),
            verified_at: webhook.verified_at.filter(|_| proof).map(seconds),
        }
    }
}

/// The states of `verification`.
pub(crate) const VERIFICATIONS: [&str; 2] = ["pending", "verified"];

/// Whether the endpoint proved that it wants to be told. One that was never asked to counts as
/// verified.
pub(crate) fn verification(webhook: &Webhook) -> &'static str {
    VERIFICATIONS[usize::from(webhook.pending_since.is_none())]
}

/// A webhook in lists and by itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookView {
    /// Names it.
    #[schema(value_type = String)]
    id: WebhookId,
    /// Your name for it.
    name: String,
    /// Where deliveries go.
    url: String,
    /// Event types, families such as `scrape.*`, or `*`.
    events: Vec<String>,
    /// Whether events are delivered.
    active: bool,
    /// The signing secret, masked.
    secret: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When the last delivery was tried; null before the first.
    #[schema(required, format = DateTime)]
    last_triggered_at: Option<String>,
    /// Share of the last 7 days' deliveries that succeeded; null with none.
    #[schema(required, minimum = 0, maximum = 1)]
    success_rate: Option<f64>,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    #[serde(flatten)]
    beyond: Beyond,
}

impl WebhookView {
    pub(crate) fn new(found: WebhookWithStats, config: &ApiConfig) -> Self {
        let WebhookWithStats { webhook, stats } = found;
        let WebhookStats { last_triggered_at, success_rate } = stats;
        Self {
            id: webhook.id,
            secret: webhook.secret.masked(),
            created_at: seconds(webhook.created_at),
            updated_at: seconds(webhook.updated_at),
            last_triggered_at: last_triggered_at.map(seconds),
            success_rate: success_rate.map(|rate| (rate * 10_000.0).round() / 10_000.0),
            active: webhook.active,
            beyond: Beyond::of(&webhook, config),
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
        }
    }
}

/// A webhook by itself, with what waits for its endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDetail)]
pub(crate) struct WebhookDetailView {
    #[serde(flatten)]
    webhook: WebhookView,
    /// Deliveries that wait for their turn, because more events come than the endpoint takes;
    /// null when none do.
    #[schema(required)]
    backlog: Option<BacklogView>,
}

/// Deliveries that wait for their turn.
#[derive(Serialize, ToSchema)]
#[schema(as = Backlog)]
struct BacklogView {
    /// How many, counted up to 10,000.
    #[schema(minimum = 1, maximum = 10_000)]
    waiting: u64,
    /// Whether there are more than were counted.
    waiting_capped: bool,
    /// Since when the one waits that has waited longest; null for a moment after it began.
    #[schema(required, format = DateTime)]
    since: Option<String>,
    /// Since when the endpoint does not answer; null when it does.
    #[schema(required, format = DateTime)]
    endpoint_silent_since: Option<String>,
}

impl WebhookDetailView {
    pub(crate) fn new(found: WebhookWithStats, depth: BacklogDepth, config: &ApiConfig) -> Self {
        let backlog = (depth.waiting > 0).then(|| BacklogView {
            waiting: depth.waiting,
            waiting_capped: depth.capped,
            since: depth.since.map(seconds),
            endpoint_silent_since: depth.silent_since.map(seconds),
        });
        Self { webhook: WebhookView::new(found, config), backlog }
    }
}

/// A webhook just made: the one answer, beside a rotation's, with the whole secret.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedWebhook)]
pub(crate) struct CreatedView {
    /// Names it.
    #[schema(value_type = String)]
    id: WebhookId,
    /// Your name for it.
    name: String,
    /// Where deliveries go.
    url: String,
    /// Event types, families such as `scrape.*`, or `*`.
    events: Vec<String>,
    /// The signing secret, whole: keep it, no other answer shows it.
    secret: String,
    /// Whether events are delivered.
    active: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    #[serde(flatten)]
    beyond: Beyond,
}

impl CreatedView {
    pub(crate) fn new(webhook: Webhook, config: &ApiConfig) -> Self {
        Self {
            id: webhook.id,
            secret: webhook.secret.expose().to_owned(),
            active: webhook.active,
            created_at: seconds(webhook.created_at),
            updated_at: seconds(webhook.updated_at),
            beyond: Beyond::of(&webhook, config),
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
        }
    }
}

/// A webhook just changed.
#[derive(Serialize, ToSchema)]
#[schema(as = UpdatedWebhook)]
pub(crate) struct UpdatedView {
    /// Names it.
    #[schema(value_type = String)]
    id: WebhookId,
    /// Your name for it.
    name: String,
    /// Whether events are delivered.
    active: bool,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// Where deliveries go.
    url: String,
    /// Event types, families such as `scrape.*`, or `*`.
    events: Vec<String>,
    /// The signing secret, masked.
    secret: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// Headers that held credentials and were removed, because the URL leads to another host now
    /// and they were not given again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    removed_headers: Vec<String>,
    #[serde(flatten)]
    beyond: Beyond,
}

impl UpdatedView {
    pub(crate) fn new(updated: Updated, config: &ApiConfig) -> Self {
        let Updated { webhook, removed_headers } = updated;
        Self {
            id: webhook.id,
            active: webhook.active,
            updated_at: seconds(webhook.updated_at),
            secret: webhook.secret.masked(),
            created_at: seconds(webhook.created_at),
            removed_headers,
            beyond: Beyond::of(&webhook, config),
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
        }
    }
}

/// A delivery in the log.
#[derive(Serialize, ToSchema)]
#[schema(as = Log)]
pub(crate) struct LogView {
    /// Names the delivery; `X-Sentimatrix-Delivery` of its requests.
    id: String,
    /// The event's type.
    #[schema(schema_with = schema::event_type)]
    event: &'static str,
    /// How far it is.
    #[schema(schema_with = schema::delivery_status)]
    status: &'static str,
    /// The last answer's status; null where none came.
    #[schema(required)]
    status_code: Option<u16>,
    /// What went wrong the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// How long the last attempt took, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    response_time_ms: Option<u64>,
    /// When it was first tried.
    #[schema(format = DateTime)]
    triggered_at: String,
    /// Attempts after the first.
    retry_count: u32,
    /// Length of the body that is sent.
    payload_size_bytes: u64,
    /// The event that caused it.
    event_id: String,
    /// Why it is made.
    #[schema(schema_with = schema::cause)]
    cause: &'static str,
    /// Whether it is a test.
    test: bool,
    /// When it is tried again; null when it is not, when it waits for its turn, and while it is
    /// being tried for longer than a moment.
    #[schema(required, format = DateTime)]
    next_attempt_at: Option<String>,
    /// Whether it waits for its turn in the webhook's backlog.
    waiting: bool,
}

impl From<DeliveryRow> for LogView {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id.to_string(),
            event: row.event_type.as_str(),
            status: row.status.as_str(),
            status_code: row.status_code,
            error: row.error,
            response_time_ms: row.response_time_ms,
            triggered_at: seconds(row.triggered_at),
            retry_count: row.attempts.saturating_sub(1),
            payload_size_bytes: row.payload_size,
            event_id: row.event_id.to_string(),
            cause: row.cause.as_str(),
            test: row.cause == Cause::Test,
            // Of one under way it is the end of a lease; one that waits goes when its turn comes.
            next_attempt_at: row
                .next_attempt_at
                .filter(|_| row.carried == Carried::No)
                .map(seconds),
            waiting: row.carried == Carried::InBacklog,
        }
    }
}

/// A delivery with everything that is known of it.
#[derive(Serialize, ToSchema)]
#[schema(as = LogDetail)]
pub(crate) struct LogDetailView {
    #[serde(flatten)]
    log: LogView,
    /// What was sent.
    request: RequestView,
    /// Every attempt, the first first.
    attempts: Vec<AttemptView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptView {
    /// The first is 1.
    number: u32,
    /// When the request was sent.
    #[schema(format = DateTime)]
    started_at: String,
    /// How long it took, milliseconds.
    response_time_ms: u64,
    /// The answer's status; null where none came.
    #[schema(required)]
    status_code: Option<u16>,
    /// The kind of failure, for programs: `status`, `redirect`, `timeout`, `network`, `tls`,
    /// `exhausted`, or `address` where the address cannot be used, because nobody knows the name
    /// or because it is not a public one. Null after a success.
    #[schema(required)]
    error_kind: Option<String>,
    /// The failure in words.
    #[schema(required)]
    error: Option<String>,
    /// The first KiB of the answer.
    #[schema(required)]
    response_body: Option<String>,
    /// The address that was connected to.
    #[schema(required)]
    address: Option<String>,
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        Self {
            number: row.number,
            started_at: millis(row.started_at),
            response_time_ms: row.response_time_ms,
            status_code: row.status_code,
            error_kind: row.error_kind.map(|kind| FailureKind::shown_as(&kind).to_owned()),
            error: row.error,
            response_body: row.response_body,
            address: row.address,
        }
    }
}

impl LogDetailView {
    pub(crate) fn new(row: DeliveryRow, request: RequestView, attempts: Vec<AttemptRow>) -> Self {
        Self {
            log: row.into(),
            request,
            attempts: attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}
