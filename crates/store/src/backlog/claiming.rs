//! Who sends what is in a backlog. A holder has one lease for all that it holds.

use domain::WebhookId;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};
use time::OffsetDateTime;

use super::{ClaimedBacklog, LEASES, among, key_of, time_of};
use crate::error::is_conflict;
use crate::instant::{now, to_micros};
use crate::{BacklogKey, Store, StoreError};

/// Backlogs that one statement claims, at most.
const CLAIMED_AT_ONCE: u64 = 1_000;

impl Store {
    /// Makes `holder` the holder of backlogs that are free, at most `most` and at most 1,000: they
    /// have no holder, or its lease `dispatcher/HOLDER` ([`Store::acquire_lease`]) has ended. Take
    /// the own lease first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away; what was claimed then is among
    /// [`Store::held_backlogs`].
    pub async fn claim_backlogs(
        &self,
        holder: &str,
        most: u64,
    ) -> Result<Vec<ClaimedBacklog>, StoreError> {
        match self.try_claim_backlogs(holder, most).await {
            Err(error) if is_conflict(&error) => {
                claimed(self.try_claim_backlogs(holder, most).await?)
            }
            rows => claimed(rows?),
        }
    }

    /// The backlogs that `holder` has: also those that it does not know of, because it was not
    /// told of a claim, or of having begun one, when the connection broke.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn held_backlogs(&self, holder: &str) -> Result<Vec<ClaimedBacklog>, StoreError> {
        let sql = "SELECT webhook_id, partition_key, user_id, silent_since FROM backlogs \
                   WHERE holder = $1";
        let statement = Statement::from_sql_and_values(self.backend(), sql, [holder.into()]);
        claimed(self.reader.query_all_raw(statement).await?)
    }

    /// Takes over from whoever was there before, where nobody else can be: the leases of all other
    /// dispatchers end, and the attempts that they made are due.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away; do it again.
    pub async fn take_over(&self, holder: &str) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM leases WHERE name LIKE '{LEASES}%' AND holder <> $1");
        let end = Statement::from_sql_and_values(self.backend(), sql, [holder.into()]);
        self.execute(end).await?;
        let sql = "UPDATE deliveries SET next_attempt_at = $1, parked = NULL \
                   WHERE parked = 1 AND next_attempt_at > $1";
        let values = [to_micros(now()).into()];
        let due = Statement::from_sql_and_values(self.backend(), sql, values);
        self.execute(due).await.map(drop)
    }

    /// Makes free what `holder` has, and ends its lease; gives back how many backlogs it had.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: the lease ends by itself.
    pub async fn release_backlogs(&self, holder: &str) -> Result<u64, StoreError> {
        let released = "UPDATE backlogs SET holder = NULL WHERE holder = $1";
        let ended = "DELETE FROM leases WHERE name = $1";
        let values = [holder.into()];
        let free = Statement::from_sql_and_values(self.backend(), released, values);
        let freed = self.execute(free).await?;
        let values = [format!("{LEASES}{holder}").into()];
        let end = Statement::from_sql_and_values(self.backend(), ended, values);
        self.execute(end).await?;
        Ok(freed)
    }

    /// Notes since when the webhook's endpoint does not answer, with all of its backlogs; `None`
    /// for one that does.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn mark_silent(
        &self,
        webhook: WebhookId,
        since: Option<OffsetDateTime>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE backlogs SET silent_since = $1 WHERE webhook_id = $2";
        let values = [since.map(to_micros).into(), webhook.as_uuid().into()];
        let mark = Statement::from_sql_and_values(self.backend(), sql, values);
        self.execute(mark).await.map(drop)
    }

    /// Executes it, once more when it was broken off in favour of another; gives back how many rows
    /// it changed.
    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        let done = match self.writer.execute_raw(statement.clone()).await {
            Err(error) if is_conflict(&error) => self.writer.execute_raw(statement).await?,
            done => done?,
        };
        Ok(done.rows_affected())
    }

    async fn try_claim_backlogs(&self, holder: &str, most: u64) -> Result<Vec<QueryResult>, DbErr> {
        let backend = self.backend();
        let transaction = self.writer.begin().await?;
        // Those who join a backlog do not keep it from being claimed.
        let sql = format!(
            "SELECT webhook_id, partition_key FROM backlogs WHERE {} LIMIT {} {}",
            self.free(),
            most.min(CLAIMED_AT_ONCE),
            self.locking("FOR NO KEY UPDATE SKIP LOCKED")
        );
        let found = transaction.query_all_raw(Statement::from_string(backend, sql)).await?;
        let keys = found.iter().map(key_of).collect::<Result<Vec<BacklogKey>, _>>()?;
        if keys.is_empty() {
            transaction.rollback().await?;
            return Ok(Vec::new());
        }
        // Asked again now that they are locked: whoever had one until then may have taken its
        // lease only after the first look.
        let (among, keys) = among(backend, &keys, 2);
        let sql = format!(
            "UPDATE backlogs SET holder = $1 WHERE (webhook_id, partition_key) {among} AND {} \
             RETURNING webhook_id, partition_key, user_id, silent_since",
            self.free()
        );
        let values = std::iter::once(holder.into()).chain(keys);
        let claim = Statement::from_sql_and_values(backend, sql, values);
        let rows = transaction.query_all_raw(claim).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Whether a row of `backlogs` is free.
    fn free(&self) -> String {
        format!(
            "(holder IS NULL OR holder NOT IN (SELECT SUBSTR(name, {}) FROM leases \
             WHERE name LIKE '{LEASES}%' AND until > {}))",
            LEASES.len() + 1,
            self.clock()
        )
    }
}

fn claimed(rows: Vec<QueryResult>) -> Result<Vec<ClaimedBacklog>, StoreError> {
    let read = |row: &QueryResult| {
        let user: String = row.try_get("", "user_id")?;
        Ok(ClaimedBacklog {
            key: key_of(row)?,
            user: user.parse().map_err(|e| StoreError::corrupt("backlog", e))?,
            silent_since: time_of(row, "silent_since")?,
        })
    };
    rows.iter().map(read).collect()
}
