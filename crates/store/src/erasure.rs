//! Everything of one user, gone.

use domain::{UserId, WebhookId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, DbErr, EntityTrait, QueryFilter, Statement,
    Value,
};
use uuid::Uuid;

use crate::entity::idempotency_key;
use crate::retention::delete;
use crate::{Store, StoreError};

/// Rows removed by one transaction, at most.
const BATCH: usize = 500;

/// What was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Webhooks, with their secrets, statistics and jobs.
    pub webhooks: Vec<WebhookId>,
    /// Deliveries, with their attempts.
    pub deliveries: u64,
    /// Events, with their bodies.
    pub events: u64,
    /// Notices that were not published yet.
    pub notices: u64,
    /// Answers kept for idempotency keys.
    pub answers: u64,
    /// Rows of the audit trail that were removed, or no longer name the user.
    pub audit: u64,
}

impl Store {
    /// Erases what is kept of `user`: webhooks with their secrets and jobs, deliveries (also those of
    /// webhooks that are deleted) with their attempts, events with their bodies, notices, stored
    /// answers, rows of the audit trail. That the user was erased is noted there, and stays. Rows are looked for without an index: with millions of them it takes
    /// minutes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: what was erased until then is
    /// gone; erase again.
    pub async fn erase_user(&self, user: &UserId) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        for id in self.webhook_ids(user).await? {
            match self.delete_webhook(user, id).await {
                Ok(()) => erased.webhooks.push(id),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let deliveries = "SELECT deliveries.id AS found FROM deliveries \
             JOIN events ON events.key = deliveries.event_key \
             WHERE events.user_id = $1 AND deliveries.id > $2 ORDER BY deliveries.id";
        let mut last = Uuid::nil();
        loop {
            let found = self.page(deliveries, user, last).await?;
            let Some(end) = found.last() else {
                break;
            };
            last = *end;
            let transaction = self.writer.begin().await?;
            delete(&transaction, "attempts WHERE delivery_id", found.clone(), "").await?;
            erased.deliveries += delete(&transaction, "deliveries WHERE id", found, "").await?;
            transaction.commit().await?;
        }
        let events = "SELECT key AS found FROM events \
             WHERE user_id = $1 AND key > $2 ORDER BY key";
        let mut last = Uuid::nil();
        loop {
            let found = self.page(events, user, last).await?;
            let Some(end) = found.last() else {
                break;
            };
            last = *end;
            erased.events += delete(&self.writer, "events WHERE key", found, "").await?;
        }
        erased.notices = self.delete_of(user, "notices").await?;
        self.delete_of(user, "backlogs").await?;
        let answers = idempotency_key::Entity::delete_many()
            .filter(idempotency_key::Column::UserId.eq(user.as_str()));
        erased.answers = answers.exec(&self.writer).await?.rows_affected;
        erased.audit = self.erase_audit_of(user).await?;
        self.note_erasure(user).await?;
        Ok(erased)
    }

    /// Removes the user's rows of `table`; gives back how many.
    async fn delete_of(&self, user: &UserId, table: &str) -> Result<u64, StoreError> {
        let sql = format!("DELETE FROM {table} WHERE user_id = $1");
        let values = [user.as_str().into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        Ok(self.writer.execute_raw(statement).await?.rows_affected())
    }

    /// The next ids that `sql` finds after `last`, however long it looks.
    async fn page(&self, sql: &str, user: &UserId, last: Uuid) -> Result<Vec<Uuid>, StoreError> {
        let values: [Value; 2] = [user.as_str().into(), last.into()];
        let sql = format!("{sql} LIMIT {BATCH}");
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let rows = if self.backend() == DatabaseBackend::Postgres {
            let transaction = self.writer.begin().await?;
            let connection = transaction.unbounded();
            connection.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
            connection.query_all_raw(statement).await?
        } else {
            self.reader.unbounded().query_all_raw(statement).await?
        };
        Ok(rows.iter().map(|row| row.try_get("", "found")).collect::<Result<_, DbErr>>()?)
    }
}
