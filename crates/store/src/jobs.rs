//! Jobs as rows: made, listed, cancelled; and stepped forward, by one at a time.

use domain::{JobId, UserId, WebhookId};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, UpdateMany,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::counting::count_up_to;
use crate::entity::job::{Column, Entity, Model, unfinished};
use crate::instant::{from_micros, now, to_micros};
use crate::webhooks::lock_user;
use crate::{
    Action, Deed, Job, JobCounts, JobKind, JobStatus, NewJob, ObjectKind, Page, PageRequest,
    RangePage, Store, StoreError, audit, redeliveries,
};

/// What is looked at is counted up to here.
const COUNTED: u64 = 10_000;

/// Jobs of a webhook that are kept once they have ended.
const KEPT: u64 = 100;

impl Store {
    /// Makes a job, unless its user has `limit` under way; `None` then. Of those that have ended
    /// the last 100 of the webhook are kept.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown webhook and another user's.
    pub async fn create_job(&self, new: NewJob, limit: u64) -> Result<Option<Job>, StoreError> {
        self.check_owner(&new.user, new.webhook).await?;
        let mut row = row_of(&new);
        if new.kind == JobKind::Redelivery {
            let counted =
                count_up_to(&self.reader, redeliveries::range(&job_of(row.clone())?), COUNTED + 1)
                    .await?;
            row.total = i64::try_from(counted.min(COUNTED)).unwrap_or(0);
            row.total_capped = counted > COUNTED;
        }
        let transaction = self.writer.begin().await?;
        lock_user(&transaction, &new.user).await?;
        if let Some(before) = Entity::find_by_id(row.id).one(&transaction).await? {
            return job_of(before).map(Some);
        }
        let under_way =
            Entity::find().filter(unfinished()).filter(Column::UserId.eq(new.user.as_str()));
        if under_way.count(&transaction).await? >= limit {
            return Ok(None);
        }
        Entity::insert(row.clone().into_active_model())
            .exec_without_returning(&transaction)
            .await?;
        forget_old(&transaction, new.webhook).await?;
        let action = match new.kind {
            JobKind::Redelivery => Action::JobRedeliver,
            JobKind::Replay => Action::JobReplay,
        };
        let deed = Deed::of(action, ObjectKind::Job, &new.id.to_string()).belonging_to(&new.user);
        let noted = audit::note(&transaction, &self.act, &deed).await?;
        transaction.commit().await?;
        noted.log();
        job_of(row).map(Some)
    }

    /// The webhook's jobs, newest first; only what follows `after`, where it is given.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown webhook and another user's.
    pub async fn jobs(
        &self,
        user: &UserId,
        webhook: WebhookId,
        after: Option<JobId>,
        page: PageRequest,
    ) -> Result<Page<Job>, StoreError> {
        self.check_owner(user, webhook).await?;
        let found = Entity::find().filter(Column::WebhookId.eq(webhook.as_uuid()));
        let total = found.clone().count(&self.reader).await?;
        let found = match after {
            None => found.offset(page.offset()),
            Some(last) => found.filter(Column::Id.lt(last.as_uuid())),
        };
        let rows = found.order_by_desc(Column::Id).limit(page.rows() + 1).all(&self.reader).await?;
        let (rows, more) = page.cut(rows);
        let items = rows.into_iter().map(job_of).collect::<Result<_, _>>()?;
        Ok(Page { items, total, total_capped: false, more })
    }

    /// One job of the webhook.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for what is unknown, another webhook's or another user's.
    pub async fn job(
        &self,
        user: &UserId,
        webhook: WebhookId,
        id: JobId,
    ) -> Result<Job, StoreError> {
        job_of(one_of(user, webhook, id).one(&self.reader).await?.ok_or(StoreError::NotFound)?)
    }

    /// Ends a job before it is done; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for what is unknown, another webhook's or another user's.
    pub async fn cancel_job(
        &self,
        user: &UserId,
        webhook: WebhookId,
        id: JobId,
        reason: &str,
    ) -> Result<Job, StoreError> {
        self.check_owner(user, webhook).await?;
        let transaction = self.writer.begin().await?;
        let ended = end(JobStatus::Cancelled, Some(reason))
            .filter(Column::Id.eq(id.as_uuid()))
            .filter(Column::WebhookId.eq(webhook.as_uuid()))
            .exec(&transaction)
            .await?;
        let row = one_of(user, webhook, id).one(&transaction).await?;
        let job = job_of(row.ok_or(StoreError::NotFound)?)?;
        let came_to = if ended.rows_affected == 1 { "done" } else { "had ended before" };
        let deed = Deed::of(Action::JobCancel, ObjectKind::Job, &id.to_string());
        let deed = deed.belonging_to(user).outcome(came_to);
        let noted = audit::note(&transaction, &self.act, &deed).await?;
        transaction.commit().await?;
        noted.log();
        Ok(job)
    }

    /// Jobs that have not ended, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn unfinished_jobs(&self, limit: u64) -> Result<Vec<Job>, StoreError> {
        let rows = Entity::find()
            .filter(unfinished())
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.reader)
            .await?;
        // One that cannot be read must not keep the others from running.
        Ok(rows.into_iter().filter_map(|row| job_of(row).ok()).collect())
    }

    /// Whether the job has not ended, and nobody else took it forward.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn job_stands(&self, job: &Job) -> Result<bool, StoreError> {
        let found = Entity::find().filter(same_step(job)).count(&self.reader).await?;
        Ok(found == 1)
    }

    /// Takes a job past `page` with these counts; `None` when it has ended meanwhile, or somebody
    /// else took it forward.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn advance_job(
        &self,
        job: &Job,
        page: Option<&RangePage>,
        counts: JobCounts,
        history_from: Option<OffsetDateTime>,
    ) -> Result<Option<Job>, StoreError> {
        let cursor = page.and_then(|page| page.end).unwrap_or(job.cursor);
        let total = counts.total.max(counts.seen());
        let next = Job {
            status: JobStatus::Running,
            counts: JobCounts { total, ..counts },
            history_from,
            updated_at: now(),
            steps: job.steps.wrapping_add(1),
            cursor,
            ..job.clone()
        };
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let moved = Entity::update_many()
            .col_expr(Column::Status, Expr::value(JobStatus::Running as i16))
            .col_expr(Column::Total, Expr::value(number(total)))
            .col_expr(Column::Done, Expr::value(number(counts.done)))
            .col_expr(Column::Skipped, Expr::value(number(counts.skipped)))
            .col_expr(Column::Failed, Expr::value(number(counts.failed)))
            .col_expr(Column::HistoryFrom, Expr::value(history_from.map(to_micros)))
            .col_expr(Column::UpdatedAt, Expr::value(to_micros(next.updated_at)))
            .col_expr(Column::Steps, Expr::value(next.steps))
            .col_expr(Column::CursorAt, Expr::value(cursor.0))
            .col_expr(Column::CursorId, Expr::value(cursor.1))
            .filter(same_step(job))
            .exec(&self.writer)
            .await?;
        Ok((moved.rows_affected == 1).then_some(next))
    }

    /// Ends a job where it stands, `reason` given when it is not done. Nothing happens when it has
    /// ended meanwhile, or somebody else took it forward.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn end_job(&self, job: &Job, reason: Option<&str>) -> Result<(), StoreError> {
        let status = if reason.is_some() { JobStatus::Cancelled } else { JobStatus::Done };
        let mut ending = end(status, reason).filter(same_step(job));
        if status == JobStatus::Done {
            // All of it has been looked at, so that its number is known.
            let seen = i64::try_from(job.counts.seen()).unwrap_or(i64::MAX);
            ending = ending
                .col_expr(Column::Total, Expr::value(seen))
                .col_expr(Column::TotalCapped, Expr::value(false));
        }
        ending.exec(&self.writer).await?;
        Ok(())
    }
}

fn same_step(job: &Job) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(unfinished())
        .add(Column::Id.eq(job.id.as_uuid()))
        .add(Column::Steps.eq(job.steps))
}

fn end(status: JobStatus, reason: Option<&str>) -> UpdateMany<Entity> {
    let at = to_micros(now());
    Entity::update_many()
        .col_expr(Column::Status, Expr::value(status as i16))
        .col_expr(Column::Reason, Expr::value(reason.map(str::to_owned)))
        .col_expr(Column::UpdatedAt, Expr::value(at))
        .col_expr(Column::FinishedAt, Expr::value(at))
        .filter(unfinished())
}

fn one_of(user: &UserId, webhook: WebhookId, id: JobId) -> Select<Entity> {
    Entity::find_by_id(id.as_uuid())
        .filter(Column::WebhookId.eq(webhook.as_uuid()))
        .filter(Column::UserId.eq(user.as_str()))
}

/// Removes jobs of the webhook that have ended, but for the last ones.
async fn forget_old(connection: &impl ConnectionTrait, webhook: WebhookId) -> Result<(), DbErr> {
    let old: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::WebhookId.eq(webhook.as_uuid()))
        .filter(Column::Status.gte(JobStatus::Done as i16))
        .order_by_desc(Column::Id)
        .offset(KEPT)
        .limit(KEPT)
        .into_tuple()
        .all(connection)
        .await?;
    if !old.is_empty() {
        Entity::delete_many().filter(Column::Id.is_in(old)).exec(connection).await?;
    }
    Ok(())
}

fn row_of(new: &NewJob) -> Model {
    let at = to_micros(now());
    Model {
        id: new.id.as_uuid(),
        webhook_id: new.webhook.as_uuid(),
        user_id: new.user.to_string(),
        kind: new.kind as i16,
        statuses: new.scope as i16,
        since: to_micros(new.since),
        until: to_micros(new.until),
        status: JobStatus::Pending as i16,
        reason: None,
        total: 0,
        total_capped: false,
        done: 0,
        skipped: 0,
        failed: 0,
        history_from: None,
        steps: 0,
        cursor_at: to_micros(new.since),
        cursor_id: Uuid::nil(),
        created_at: at,
        updated_at: at,
        finished_at: None,
    }
}

fn job_of(row: Model) -> Result<Job, StoreError> {
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(Job {
        id: JobId::from_uuid(row.id),
        user: row.user_id.parse().map_err(|e| StoreError::corrupt("job", e))?,
        webhook: WebhookId::from_uuid(row.webhook_id),
        kind: row.kind.try_into()?,
        scope: row.statuses.try_into()?,
        since: from_micros(row.since)?,
        until: from_micros(row.until)?,
        status: row.status.try_into()?,
        reason: row.reason,
        counts: JobCounts {
            total: number(row.total),
            done: number(row.done),
            skipped: number(row.skipped),
            failed: number(row.failed),
        },
        total_capped: row.total_capped,
        history_from: row.history_from.map(from_micros).transpose()?,
        created_at: from_micros(row.created_at)?,
        updated_at: from_micros(row.updated_at)?,
        finished_at: row.finished_at.map(from_micros).transpose()?,
        steps: row.steps,
        cursor: (row.cursor_at, row.cursor_id),
    })
}
