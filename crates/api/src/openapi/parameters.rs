//! Parameters that several operations have. They are read in [`crate::query`].

#![expect(dead_code, reason = "shapes for the document; queries are read by `Query`")]

use utoipa::IntoParams;

use crate::openapi::schema;

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// The page, from 1.
    #[param(required = false, minimum = 1, maximum = 1000, default = 1)]
    page: u64,
    /// Goes on where another answer ended: its `next_cursor`, with the same other parameters.
    #[param(required = false)]
    cursor: String,
    /// Entries of a page.
    #[param(required = false, minimum = 1, maximum = 100, default = 20)]
    limit: u64,
}

/// Which webhooks.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WebhookFilter {
    /// A part of the name or the URL.
    #[param(required = false, max_length = 200, pattern = r"^[^\u0000]*$")]
    search: String,
    /// Only those that are switched on, or off.
    #[param(required = false)]
    active: bool,
    /// Only those that want this type.
    #[param(required = false, schema_with = schema::event_type)]
    event: String,
}

/// Which deliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogFilter {
    /// Only those that are this far.
    #[param(required = false, schema_with = schema::delivery_status)]
    status: String,
    /// Only those of this type.
    #[param(required = false, schema_with = schema::event_type)]
    event: String,
    /// Only those first tried at this time or later.
    #[param(required = false, format = DateTime)]
    since: String,
    /// Only those first tried before this time.
    #[param(required = false, format = DateTime)]
    until: String,
}

/// Which part of the audit trail.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditFilter {
    /// Only what this actor did.
    #[param(required = false, min_length = 1, max_length = 256, pattern = r"^[^\u0000]*$")]
    actor: String,
    /// Only this.
    #[param(required = false, schema_with = schema::audit_action)]
    action: String,
    /// Only on the object of this id.
    #[param(required = false, min_length = 1, max_length = 256, pattern = r"^[^\u0000]*$")]
    object: String,
    /// Only at this time or later.
    #[param(required = false, format = DateTime)]
    since: String,
    /// Only before this time.
    #[param(required = false, format = DateTime)]
    until: String,
}

/// A webhook of the user.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct WebhookPath {
    /// The webhook, `wh_…`.
    webhook_id: String,
}

/// A delivery of a webhook.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct LogPath {
    /// The webhook, `wh_…`.
    webhook_id: String,
    /// The delivery, `log_…`.
    log_id: String,
}

/// A job of a webhook.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct JobPath {
    /// The webhook, `wh_…`.
    webhook_id: String,
    /// The job, `job_…`.
    job_id: String,
}

/// A user.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct UserPath {
    /// Whose connections.
    #[param(min_length = 1, max_length = 128, pattern = r"^[!#-\[\]-~]+$")]
    user_id: String,
}

/// An event of the user.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct EventPath {
    /// The event, as its publisher named it.
    event_id: String,
}
