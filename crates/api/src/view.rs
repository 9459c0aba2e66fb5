//! What users see: the specification's fields first and in its order, what goes beyond it after
//! them.

use std::collections::BTreeMap;

use domain::{Cause, ProjectId, Webhook, WebhookId};
use serde::Serialize;
use serde_json::value::RawValue;
use store::{AttemptRow, DeliveryRow, WebhookStats, WebhookWithStats};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
#[derive(Serialize)]
struct Beyond {
    project_ids: Vec<ProjectId>,
    filter: Option<Box<RawValue>>,
    rate_limit: Option<u32>,
    headers: BTreeMap<String, String>,
    description: Option<String>,
    metadata: BTreeMap<String, String>,
    disabled_reason: Option<String>,
    disabled_at: Option<String>,
}

impl Beyond {
    fn of(webhook: &Webhook) -> Self {
        Self {
            project_ids: webhook.project_ids.clone(),
            filter: webhook.filter.clone().and_then(|json| RawValue::from_string(json).ok()),
            rate_limit: webhook.rate_limit,
            headers: masked(&webhook.headers),
            description: webhook.description.clone(),
            metadata: webhook.metadata.clone(),
            disabled_reason: webhook.disabled_reason.clone(),
            disabled_at: webhook.disabled_at.map(seconds),
        }
    }
}

/// What is shown instead of a header's value that nobody should read.
pub(crate) const MASK: &str = "***";

/// Words in the names of headers that hold credentials.
const CREDENTIALS: [&str; 8] =
    ["auth", "cookie", "token", "secret", "key", "password", "credential", "session"];

/// Headers that hold credentials show that they are set, and nothing more.
pub(crate) fn masked(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        CREDENTIALS.iter().any(|word| name.contains(word))
    };
    let shown = |(name, value): (&String, &String)| {
        let value = if secret(name) { MASK.to_owned() } else { value.clone() };
        (name.clone(), value)
    };
    headers.iter().map(shown).collect()
}

/// A webhook in lists and by itself.
#[derive(Serialize)]
pub(crate) struct WebhookView {
    id: WebhookId,
    name: String,
    url: String,
    events: Vec<String>,
    active: bool,
    secret: String,
    created_at: String,
    last_triggered_at: Option<String>,
    success_rate: Option<f64>,
    updated_at: String,
    #[serde(flatten)]
    beyond: Beyond,
}

impl From<WebhookWithStats> for WebhookView {
    fn from(WebhookWithStats { webhook, stats }: WebhookWithStats) -> Self {
        let WebhookStats { last_triggered_at, success_rate } = stats;
        Self {
            id: webhook.id,
            secret: webhook.secret.masked(),
            created_at: seconds(webhook.created_at),
            updated_at: seconds(webhook.updated_at),
            last_triggered_at: last_triggered_at.map(seconds),
            success_rate: success_rate.map(|rate| (rate * 10_000.0).round() / 10_000.0),
            active: webhook.active,
            beyond: Beyond::of(&webhook),
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
        }
    }
}

/// A webhook just made: the one answer, beside a rotation's, with the whole secret.
#[derive(Serialize)]
pub(crate) struct CreatedView {
    id: WebhookId,
    name: String,
    url: String,
    events: Vec<String>,
    secret: String,
    active: bool,
    created_at: String,
    updated_at: String,
    #[serde(flatten)]
    beyond: Beyond,
}

impl From<Webhook> for CreatedView {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id,
            secret: webhook.secret.expose().to_owned(),
            active: webhook.active,
            created_at: seconds(webhook.created_at),
            updated_at: seconds(webhook.updated_at),
            beyond: Beyond::of(&webhook),
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
        }
    }
}

/// A webhook just changed.
#[derive(Serialize)]
pub(crate) struct UpdatedView {
    id: WebhookId,
    name: String,
    active: bool,
    updated_at: String,
    url: String,
    events: Vec<String>,
    secret: String,
    created_at: String,
    #[serde(flatten)]
    beyond: Beyond,
}

impl From<Webhook> for UpdatedView {
    fn from(webhook: Webhook) -> Self {
        Self {
            id: webhook.id,
            active: webhook.active,
            updated_at: seconds(webhook.updated_at),
            secret: webhook.secret.masked(),
            created_at: seconds(webhook.created_at),
            beyond: Beyond::of(&webhook),
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
        }
    }
}

/// A delivery in the log.
#[derive(Serialize)]
pub(crate) struct LogView {
    id: String,
    event: &'static str,
    status: &'static str,
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_time_ms: Option<u64>,
    triggered_at: String,
    retry_count: u32,
    payload_size_bytes: u64,
    event_id: String,
    cause: &'static str,
    test: bool,
    next_attempt_at: Option<String>,
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
            next_attempt_at: row.next_attempt_at.map(seconds),
        }
    }
}

/// A delivery with everything that is known of it.
#[derive(Serialize)]
pub(crate) struct LogDetailView {
    #[serde(flatten)]
    log: LogView,
    request: RequestView,
    attempts: Vec<AttemptView>,
}

#[derive(Serialize)]
struct AttemptView {
    number: u32,
    started_at: String,
    response_time_ms: u64,
    status_code: Option<u16>,
    error_kind: Option<String>,
    error: Option<String>,
    response_body: Option<String>,
    address: Option<String>,
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        Self {
            number: row.number,
            started_at: millis(row.started_at),
            response_time_ms: row.response_time_ms,
            status_code: row.status_code,
            error_kind: row.error_kind,
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
