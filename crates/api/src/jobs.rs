//! Jobs of a webhook: `POST …/redeliver` of a range, `POST …/replay` of what it missed, and how
//! far they have come. The dispatcher runs them.

use actix_web::HttpRequest;
use actix_web::web::{Data, Path};
use domain::{JobId, UserId, WebhookId};
use serde::Serialize;
use serde_json::Value;
use store::{Job, JobKind, JobScope, NewJob};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::Api;
use crate::body::Fields;
use crate::caller::{Caller, Reader, Writer};
use crate::envelope::Success;
use crate::error::{ApiError, FieldError};
use crate::openapi::parameters::{JobPath, Paging, WebhookPath};
use crate::openapi::requests::{RedeliverRange, ReplayRange};
use crate::openapi::schema;
use crate::query::Query;
use crate::seed::Seed;
use crate::validation::Form;
use crate::view::seconds;
use crate::webhooks::webhook_id;

/// Jobs of one user under way, at most.
const UNDER_WAY: u64 = 10;

/// A job, as users see it.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobView {
    /// Names it.
    id: String,
    /// The webhook.
    webhook_id: String,
    #[schema(schema_with = schema::job_kind)]
    kind: &'static str,
    #[schema(schema_with = schema::job_status)]
    status: &'static str,
    /// Why it ended before it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Where the range begins.
    #[schema(format = DateTime)]
    since: String,
    /// Where it ends.
    #[schema(format = DateTime)]
    until: String,
    /// Which deliveries, of a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::job_scope, required = false)]
    deliveries: Option<&'static str>,
    /// How far it has come.
    progress: Progress,
    /// What was published before could not be looked at: it is not kept any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    history_from: Option<String>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it last came forward.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When it ended; null before.
    #[schema(required, format = DateTime)]
    finished_at: Option<String>,
}

/// How far a job has come.
#[derive(Serialize, ToSchema)]
#[schema(as = JobProgress)]
struct Progress {
    /// What it has to look at, as far as that is known.
    total: u64,
    /// Whether there is more than was counted.
    total_capped: bool,
    /// Handed over for delivery.
    done: u64,
    /// Looked at and left alone.
    skipped: u64,
    /// Not to be made again: what it needs is not kept any more.
    failed: u64,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.to_string(),
            webhook_id: job.webhook.to_string(),
            kind: job.kind.as_str(),
            status: job.status.as_str(),
            reason: job.reason,
            since: precise(job.since),
            until: precise(job.until),
            deliveries: (job.kind == JobKind::Redelivery).then(|| job.scope.as_str()),
            progress: Progress {
                total: job.counts.total,
                total_capped: job.total_capped,
                done: job.counts.done,
                skipped: job.counts.skipped,
                failed: job.counts.failed,
            },
            history_from: job.history_from.map(seconds),
            created_at: seconds(job.created_at),
            updated_at: seconds(job.updated_at),
            finished_at: job.finished_at.map(seconds),
        }
    }
}

/// A time as exactly as it was given.
fn precise(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("a stored time has an RFC 3339 form")
}

/// Redeliver a range
///
/// Makes the webhook's deliveries of a range again: those that failed, unless others are asked
/// for. The job goes on after a restart; look up how far it has come.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook_id}/redeliver",
    operation_id = "redeliverRange", tag = "Jobs",
    params(WebhookPath),
    request_body = RedeliverRange,
    responses(
        (status = 202, description = "The job.", body = JobView),
        (status = 409, description = "The webhook is switched off or not verified, or as many jobs as are allowed."),
    ),
)]
pub(crate) async fn redeliver(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
    seed: Seed,
    fields: Fields,
) -> Result<Success<JobView>, ApiError> {
    let webhook = ready(&api, &caller.user, &path).await?;
    let mut form = Form::new(fields);
    let range = range(&mut form);
    let scope = form.optional("status", scope).unwrap_or_default();
    form.finish()?;
    start(&api, &caller, webhook, seed, JobKind::Redelivery, scope, range).await
}

/// Replay a range
///
/// Delivers the events of a range that the webhook wants and never had, because it was off or did
/// not exist yet.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook_id}/replay",
    operation_id = "replayRange", tag = "Jobs",
    params(WebhookPath),
    request_body = ReplayRange,
    responses(
        (status = 202, description = "The job.", body = JobView),
        (status = 409, description = "The webhook is switched off or not verified, or as many jobs as are allowed."),
    ),
)]
pub(crate) async fn replay(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<String>,
    seed: Seed,
    fields: Fields,
) -> Result<Success<JobView>, ApiError> {
    let webhook = ready(&api, &caller.user, &path).await?;
    let mut form = Form::new(fields);
    let range = range(&mut form);
    form.finish()?;
    start(&api, &caller, webhook, seed, JobKind::Replay, JobScope::default(), range).await
}

/// List jobs
///
/// The webhook's jobs, newest first; the last hundred that ended are kept.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook_id}/jobs",
    operation_id = "listJobs", tag = "Jobs",
    params(WebhookPath, Paging),
    responses((status = 200, description = "A page of the jobs.", body = Vec<JobView>)),
)]
pub(crate) async fn list(
    api: Data<Api>,
    Reader(caller): Reader,
    path: Path<String>,
    request: HttpRequest,
) -> Result<Success<Vec<JobView>>, ApiError> {
    let id = webhook_id(&path)?;
    let mut query = Query::of(&request)?;
    let (page, after) = query.page();
    query.finish()?;
    let found = api.store.jobs(&caller.user, id, after, page).await?;
    Ok(Success::page(found, page, JobView::from))
}

/// Get a job
///
/// One job and how far it has come.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook_id}/jobs/{job_id}",
    operation_id = "getJob", tag = "Jobs",
    params(JobPath),
    responses((status = 200, description = "The job.", body = JobView)),
)]
pub(crate) async fn get(
    api: Data<Api>,
    Reader(caller): Reader,
    path: Path<(String, String)>,
) -> Result<Success<JobView>, ApiError> {
    let (webhook, id) = ids(&path)?;
    Ok(Success::ok(api.store.job(&caller.user, webhook, id).await?.into()))
}

/// Cancel a job
///
/// Ends a job where it stands. What it has handed over is delivered; one that has ended stays as
/// it is.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook_id}/jobs/{job_id}/cancel",
    operation_id = "cancelJob", tag = "Jobs",
    params(JobPath),
    responses((status = 200, description = "The job.", body = JobView)),
)]
pub(crate) async fn cancel(
    api: Data<Api>,
    Writer(caller): Writer,
    path: Path<(String, String)>,
) -> Result<Success<JobView>, ApiError> {
    let (webhook, id) = ids(&path)?;
    let reason = "cancelled by its user";
    let cancelled = api.acting(&caller).cancel_job(&caller.user, webhook, id, reason).await?;
    Ok(Success::ok(cancelled.into()))
}

/// The webhook, if it can be delivered to.
async fn ready(api: &Api, user: &UserId, id: &str) -> Result<WebhookId, ApiError> {
    let webhook = api.store.webhook(user, webhook_id(id)?).await?.webhook;
    match webhook.obstacle() {
        None => Ok(webhook.id),
        Some(obstacle) => Err(obstacle.into()),
    }
}

#[allow(clippy::too_many_arguments, reason = "each is one fact of the job")]
async fn start(
    api: &Api,
    caller: &Caller,
    webhook: WebhookId,
    seed: Seed,
    kind: JobKind,
    scope: JobScope,
    range: Range,
) -> Result<Success<JobView>, ApiError> {
    api.limits.count_redelivery(&caller.user)?;
    // A range ends now at the latest: what the job itself makes is never in it.
    let until = range.until.unwrap_or_else(|| seed.at()).min(seed.at());
    if range.since >= until {
        let message = "must be before `until`, and in the past";
        return Err(ApiError::Invalid(vec![FieldError::new("since", message)]));
    }
    let user = caller.user.clone();
    let new = NewJob { id: seed.job(), user, webhook, kind, scope, since: range.since, until };
    let made = api.acting(caller).create_job(new, UNDER_WAY).await?;
    let made = made.ok_or_else(|| {
        ApiError::Conflict(format!(
            "you have {UNDER_WAY} jobs under way, as many as are allowed; wait for one, or cancel it"
        ))
    })?;
    Ok(Success::accepted(made.into()))
}

/// `since` and `until`.
struct Range {
    since: OffsetDateTime,
    until: Option<OffsetDateTime>,
}

/// What is wrong with it, the form says at its end.
fn range(form: &mut Form) -> Range {
    let since = form.required("since", |value| time("since", &value));
    let until = form.optional("until", |value| time("until", &value));
    Range { since: since.unwrap_or(OffsetDateTime::UNIX_EPOCH), until }
}

fn time(field: &str, value: &Value) -> Result<OffsetDateTime, Vec<FieldError>> {
    let text = value.as_str().filter(|text| text.len() <= 64);
    let time = text.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    // What databases and brokers count with begins with 1970.
    time.filter(|time| time.unix_timestamp() >= 0).ok_or_else(|| {
        let message = "must be a time such as 2026-02-01T15:30:00Z, after 1970";
        vec![FieldError::new(field, message)]
    })
}

fn scope(value: Value) -> Result<JobScope, Vec<FieldError>> {
    value.as_str().and_then(JobScope::of).ok_or_else(|| {
        let message = "must be failed, cancelled, success or all";
        vec![FieldError::new("status", message)]
    })
}

fn ids(path: &(String, String)) -> Result<(WebhookId, JobId), ApiError> {
    Ok((webhook_id(&path.0)?, path.1.parse().map_err(|_| ApiError::NotFound)?))
}
