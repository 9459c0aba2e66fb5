//! What goes into the store and comes out of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use domain::{
    AttemptReport, Cause, DeliveryId, DeliveryStatus, DeliveryTask, Event, EventId, EventType,
    Filter, GivenHeaders, OwnHeaders, ProjectId, Secret, SigningScheme, UserId, Webhook, WebhookId,
};
use time::OffsetDateTime;

use crate::instant::to_micros;

/// A webhook to create. Its id and times are made by the store.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Whose.
    pub user: UserId,
    /// 1 to 100 characters.
    pub name: String,
    /// The endpoint.
    pub url: String,
    /// Types, families or `*`.
    pub events: Vec<String>,
    /// Only these projects; all when empty.
    pub project_ids: Vec<ProjectId>,
    /// Only events whose `data` passes.
    pub filter: Option<Filter>,
    /// Deliveries started in one second, at most.
    pub rate_limit: Option<u32>,
    /// Whether deliveries of one project go in the order of publication.
    pub ordered: bool,
    /// Own headers.
    pub headers: OwnHeaders,
    /// Signs.
    pub secret: Secret,
    /// How `webhook-signature` is made; a key is made for it where it needs one.
    pub signing: SigningScheme,
    /// Whether events are delivered.
    pub active: bool,
    /// Whether its endpoint has to prove first that it wants to be told.
    pub must_verify: bool,
    /// The user's words.
    pub description: Option<String>,
    /// The user's keys and values.
    pub metadata: BTreeMap<String, String>,
}

/// What to change; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct WebhookChange {
    /// New name.
    pub name: Option<String>,
    /// New endpoint.
    pub url: Option<String>,
    /// New types.
    pub events: Option<Vec<String>>,
    /// New projects.
    pub project_ids: Option<Vec<ProjectId>>,
    /// New filter; `Some(None)` removes it.
    pub filter: Option<Option<Filter>>,
    /// New rate limit; `Some(None)` removes it.
    pub rate_limit: Option<Option<u32>>,
    /// Whether deliveries of one project go in the order of publication.
    pub ordered: Option<bool>,
    /// New headers, all of them. When the URL leads elsewhere, hidden ones stay only if they are
    /// among these with their values.
    pub headers: Option<GivenHeaders>,
    /// New secret, without a grace period for the old one.
    pub secret: Option<Secret>,
    /// New way to make `webhook-signature`; the same one keeps its key.
    pub signing: Option<SigningScheme>,
    /// On or off; switching on clears `disabled_reason` and `disabled_at`.
    pub active: Option<bool>,
    /// New description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// New metadata, all of it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether an endpoint elsewhere has to prove first that it wants to be told.
    pub must_verify: bool,
}

/// A webhook as it is after a change.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The webhook.
    pub webhook: Webhook,
    /// The hidden headers that were left behind because the URL leads elsewhere now.
    pub removed_headers: Vec<String>,
}

/// How a webhook has been doing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WebhookStats {
    /// When an attempt was last made.
    pub last_triggered_at: Option<OffsetDateTime>,
    /// Successes among the deliveries that ended in the last seven days, 0 to 1; `None` without
    /// any.
    pub success_rate: Option<f64>,
}

/// A webhook and how it has been doing.
#[derive(Clone, Debug)]
pub struct WebhookWithStats {
    /// The webhook.
    pub webhook: Webhook,
    /// Its statistics.
    pub stats: WebhookStats,
}

/// Which webhooks to list.
#[derive(Clone, Debug, Default)]
pub struct WebhookFilter {
    /// Part of the name or the URL, in any case.
    pub search: Option<String>,
    /// Only those on, or off.
    pub active: Option<bool>,
    /// Only those that receive this type (families and `*` count).
    pub event: Option<EventType>,
    /// Only what follows this one in the list; the total counts all, and the page is the first.
    pub after: Option<WebhookId>,
}

/// Which part of a list; newest first.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// 1 is the first.
    pub page: u64,
    /// Rows of a page, 1 to 100.
    pub limit: u64,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Rows in the whole list, counted up to 10,000.
    pub total: u64,
    /// Whether there are more rows than were counted.
    pub total_capped: bool,
    /// Whether rows follow these.
    pub more: bool,
}

/// Which deliveries of a webhook to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only these.
    pub status: Option<DeliveryStatus>,
    /// Only of this type.
    pub event: Option<EventType>,
    /// Triggered at or after.
    pub since: Option<OffsetDateTime>,
    /// Triggered before.
    pub until: Option<OffsetDateTime>,
    /// Only what follows this one in the list; the total counts all, and the page is the first.
    pub after: Option<DeliveryPlace>,
}

/// Where a delivery stands in a list: the newest first, and of those at one time the greater id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryPlace {
    /// When it was triggered, microseconds since 1970.
    pub micros: i64,
    /// Its id.
    pub id: DeliveryId,
}

impl DeliveryPlace {
    /// The place of `row`.
    #[must_use]
    pub fn of(row: &DeliveryRow) -> Self {
        Self { micros: to_micros(row.triggered_at), id: row.id }
    }
}

/// A delivery, as the API's logs show it.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Names it.
    pub id: DeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// The event's id.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Why it exists.
    pub cause: Cause,
    /// Attempts made so far.
    pub attempts: u32,
    /// The last answer's status.
    pub status_code: Option<u16>,
    /// The last failure in words.
    pub error: Option<String>,
    /// How long the last attempt took, ms.
    pub response_time_ms: Option<u64>,
    /// When its first attempt was made, or, before that, when it was planned.
    pub triggered_at: OffsetDateTime,
    /// When the next attempt is due; of a parked one, when its attempt is given up.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// Size of the body, bytes.
    pub payload_size: u64,
    /// What carries it on.
    pub carried: Carried,
}

/// One attempt of a delivery.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// 1 is the first.
    pub number: u32,
    /// When it started.
    pub started_at: OffsetDateTime,
    /// How long it took, ms.
    pub response_time_ms: u64,
    /// The answer's status.
    pub status_code: Option<u16>,
    /// The kind of failure, such as `timeout`.
    pub error_kind: Option<String>,
    /// The failure in words.
    pub error: Option<String>,
    /// The beginning of the answer, as text.
    pub response_body: Option<String>,
    /// The address connected to.
    pub address: Option<String>,
}

/// An event and the deliveries it caused.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub kind: EventType,
    /// When it reached the dispatcher.
    pub created_at: OffsetDateTime,
    /// What was sent, byte for byte.
    pub payload: Bytes,
}

/// What one attempt came to, to be recorded. Carries everything that its rows need: the event
/// is stored with the first of its deliveries.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// The event.
    pub event: Event,
    /// Why it exists.
    pub cause: Cause,
    /// The number of the attempt, 1 is the first. 0 with no report: deferred or cancelled
    /// before any attempt.
    pub attempt: u32,
    /// The attempt; `None` when there was none (deferred, cancelled).
    pub report: Option<AttemptReport>,
    /// Where the delivery stands after it.
    pub status: DeliveryStatus,
    /// When the next attempt is due, for the sweep.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// How it goes on when it has not ended.
    pub waits: Waits,
    /// Why it ended without an attempt: `status` is failed and there is no report. Shown as its
    /// error, and counted as a failure.
    pub reason: Option<String>,
}

/// How a delivery that has not ended goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// By a message, or by the sweep once it is overdue. One that stands in a backlog and was not
    /// attempted stays there.
    #[default]
    No,
    /// An attempt of it goes on, without a message: it is overdue when that must have ended
    /// (`next_attempt_at`).
    Parked,
    /// In the backlog of its webhook, until its turn comes.
    InBacklog {
        /// The part of the webhook's deliveries that are sent in order: of one project, or 0.
        /// Never negative.
        partition: i64,
        /// Its place, microseconds; the lowest comes first, of equal ones the lower id.
        place: i64,
    },
}

/// When the sweep takes a delivery that was planned and not attempted for lost.
const LOST_AFTER: Duration = Duration::from_secs(600);

impl Outcome {
    /// A delivery that has been handed to the broker and not been attempted.
    #[must_use]
    pub fn planned(task: &DeliveryTask) -> Self {
        Self {
            delivery: task.id,
            webhook: task.webhook,
            event: task.event.clone(),
            cause: task.cause,
            attempt: 0,
            report: None,
            status: DeliveryStatus::Pending,
            next_attempt_at: Some(OffsetDateTime::now_utc() + LOST_AFTER),
            waits: Waits::No,
            reason: None,
        }
    }
}

/// How far a delivery has come: what a message that comes again is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryProgress {
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the next attempt is due.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// What carries it on.
    pub carried: Carried,
}

/// What carries a delivery on that has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carried {
    /// A message, or the sweep.
    #[default]
    No,
    /// The backlog that it waits in.
    InBacklog,
    /// Whoever attempts it, until its next attempt is due.
    Parked,
}

/// A delivery whose next attempt is overdue: the sweep publishes it again.
#[derive(Clone, Debug)]
pub struct Overdue {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// The event.
    pub event: Event,
    /// Why it exists.
    pub cause: Cause,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the next was due.
    pub next_attempt_at: OffsetDateTime,
}
