//! The bodies of requests, as the document shows them. They are read field by field in
//! [`crate::validation`] and [`crate::event_input`], which name everything that is wrong at
//! once; fuzzing the API by this document (`make fuzz-api`) finds where the two differ.

#![expect(dead_code, reason = "shapes for the document; requests are read by the validation")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::openapi::{filter, schema};

/// A webhook to make.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    #[schema(schema_with = schema::name)]
    name: String,
    #[schema(schema_with = schema::endpoint_url)]
    url: String,
    #[schema(schema_with = schema::event_patterns)]
    events: Vec<String>,
    #[schema(schema_with = schema::project_ids, required = false)]
    project_ids: Vec<String>,
    #[schema(schema_with = filter::of_webhook, required = false)]
    filter: Option<BTreeMap<String, String>>,
    /// Deliveries that are started in a second, at most; no limit of its own when null.
    #[schema(minimum = 1, maximum = 1000)]
    rate_limit: Option<u32>,
    /// Deliveries of one project go one after the other, in the order of publication. One that
    /// fails holds up those behind it until its five attempts are over, which may be hours.
    #[schema(required = false, default = false)]
    ordered: bool,
    #[schema(schema_with = schema::headers, required = false)]
    headers: BTreeMap<String, String>,
    #[schema(schema_with = schema::secret, required = false)]
    secret: Option<String>,
    #[schema(schema_with = schema::signing, required = false)]
    signing: String,
    /// Whether events are delivered.
    #[schema(required = false, default = true)]
    active: bool,
    /// Your own words.
    #[schema(max_length = 1000, pattern = r"^[^\u0000]*$")]
    description: Option<String>,
    #[schema(schema_with = schema::metadata, required = false)]
    metadata: BTreeMap<String, String>,
}

/// What changes of a webhook: what is left out stays as it is.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookChange {
    #[schema(schema_with = schema::name, required = false)]
    name: String,
    #[schema(schema_with = schema::endpoint_url, required = false)]
    url: String,
    #[schema(schema_with = schema::event_patterns, required = false)]
    events: Vec<String>,
    #[schema(schema_with = schema::project_ids, required = false)]
    project_ids: Vec<String>,
    #[schema(schema_with = filter::of_webhook, required = false)]
    filter: Option<BTreeMap<String, String>>,
    /// Deliveries that are started in a second, at most; no limit of its own when null.
    #[schema(minimum = 1, maximum = 1000)]
    rate_limit: Option<u32>,
    /// Deliveries of one project go one after the other, in the order of publication. One that
    /// fails holds up those behind it until its five attempts are over, which may be hours.
    #[schema(required = false)]
    ordered: bool,
    #[schema(schema_with = schema::headers, required = false)]
    headers: BTreeMap<String, String>,
    #[schema(schema_with = schema::secret, required = false)]
    secret: Option<String>,
    #[schema(schema_with = schema::signing, required = false)]
    signing: String,
    /// Whether events are delivered.
    #[schema(required = false)]
    active: bool,
    /// Your own words; null removes them.
    #[schema(max_length = 1000, pattern = r"^[^\u0000]*$")]
    description: Option<String>,
    #[schema(schema_with = schema::metadata, required = false)]
    metadata: BTreeMap<String, String>,
}

/// What to send as a test.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestRequest {
    /// The type of the sample; the first subscribed one when left out.
    #[schema(schema_with = schema::event_type, required = false)]
    event: String,
}

/// How to rotate a secret.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateRequest {
    /// How long the old secret goes on signing beside the new one, seconds.
    #[schema(required = false, default = 86400, minimum = 0, maximum = 604800)]
    grace_seconds: u64,
}

/// Which of a user's tokens to sign out.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignOut {
    /// The `jti` of the one token; all of the user's when left out.
    #[schema(required = false, min_length = 1, max_length = 256)]
    jti: String,
}

/// Which deliveries to make again.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedeliverRange {
    /// Those first tried at this time or later.
    #[schema(format = DateTime)]
    since: String,
    /// Those first tried before this time; until now when left out.
    #[schema(format = DateTime, required = false)]
    until: String,
    /// Those that failed, when left out.
    #[schema(schema_with = schema::job_scope, required = false)]
    status: String,
}

/// Which events to deliver that were missed.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRange {
    /// Those published at this time or later.
    #[schema(format = DateTime)]
    since: String,
    /// Those published before this time; until now when left out.
    #[schema(format = DateTime, required = false)]
    until: String,
}

/// One event, or up to 1,000.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum Publish {
    One(NewEvent),
    Many(NewEvents),
}

/// An event to publish.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEvent {
    /// Names it among the user's events: the same id again is the same event. Made when left
    /// out.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9._-]+$")]
    id: Option<String>,
    /// Its type.
    #[schema(schema_with = schema::event_type)]
    event: String,
    /// When it happened; now when left out.
    #[schema(format = DateTime)]
    timestamp: Option<String>,
    /// Whose webhooks are told.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[!#-\[\]-~]+$")]
    user_id: String,
    /// What happened: sent as it is, byte for byte.
    data: EventData,
}

/// Any object.
#[derive(ToSchema)]
pub(crate) struct EventData {
    /// The project that it is about; webhooks may ask for some projects only.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[!#-\[\]-~]+$")]
    project_id: Option<String>,
}

/// Events to publish together.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEvents {
    /// The events; each is answered by itself.
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<NewEvent>,
}
