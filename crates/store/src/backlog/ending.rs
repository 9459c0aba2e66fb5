//! The end of a backlog, and the net below: what waits has a backlog.

use domain::WebhookId;
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use uuid::Uuid;

use super::{BacklogKey, LEASES, partitions, webhooks};
use crate::bulk::{self, Column, field};
use crate::error::is_conflict;
use crate::instant::{now, to_micros};
use crate::{Store, StoreError};

/// Backlogs that one statement passes, at most.
const PASSED: usize = 1_000;

/// A lease that ended this long ago (microseconds) is nobody's.
const FORGOTTEN: i64 = 3_600_000_000;

/// The next of the waiting deliveries' backlogs and those after it, each by one look into the
/// index; of each the first delivery.
const SKIP_SCAN: &str = "WITH RECURSIVE found(webhook_id, partition_key, event_key, n) AS ( \
     SELECT webhook_id, partition_key, event_key, 1 FROM deliveries WHERE id = ( \
         SELECT d.id FROM deliveries d WHERE d.waiting_at IS NOT NULL \
         AND (d.webhook_id, d.partition_key) > ($1, $2) \
         ORDER BY d.webhook_id, d.partition_key LIMIT 1) \
     UNION ALL \
     SELECT next.webhook_id, next.partition_key, next.event_key, found.n + 1 \
     FROM found JOIN deliveries next ON next.id = COALESCE( \
         (SELECT d.id FROM deliveries d WHERE d.waiting_at IS NOT NULL \
         AND d.webhook_id = found.webhook_id AND d.partition_key > found.partition_key \
         ORDER BY d.partition_key LIMIT 1), \
         (SELECT d.id FROM deliveries d WHERE d.waiting_at IS NOT NULL \
         AND d.webhook_id > found.webhook_id \
         ORDER BY d.webhook_id, d.partition_key LIMIT 1)) \
     WHERE found.n < $3) \
     SELECT found.webhook_id, found.partition_key, events.user_id, \
         backlogs.webhook_id IS NULL AS missing FROM found \
     LEFT JOIN events ON events.key = found.event_key \
     LEFT JOIN backlogs ON backlogs.webhook_id = found.webhook_id \
         AND backlogs.partition_key = found.partition_key \
     ORDER BY found.webhook_id, found.partition_key";

impl Store {
    /// Ends the backlog if nothing waits in it. False while something does, or is just joining
    /// it: read it again, from the beginning. True when it is `holder`'s no more: it ended, or
    /// somebody else has it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn end_backlog(&self, key: BacklogKey, holder: &str) -> Result<bool, StoreError> {
        match self.try_end_backlog(key, holder).await {
            Err(error) if is_conflict(&error) => Ok(self.try_end_backlog(key, holder).await?),
            ended => Ok(ended?),
        }
    }

    async fn try_end_backlog(&self, key: BacklogKey, holder: &str) -> Result<bool, DbErr> {
        let values = || -> [Value; 2] { [key.webhook.as_uuid().into(), key.partition.into()] };
        let of_key = "webhook_id = $1 AND partition_key = $2";
        let transaction = self.writer.begin().await?;
        let ours = format!("SELECT 1 FROM backlogs WHERE {of_key} AND holder = $3");
        let ours = |lock: &str| {
            let [webhook, partition] = values();
            let values = [webhook, partition, holder.into()];
            Statement::from_sql_and_values(self.backend(), format!("{ours} {lock}"), values)
        };
        // Not waited for: who joins it now has something to send, which is reason not to end it.
        let lock = self.locking("FOR UPDATE SKIP LOCKED");
        if transaction.query_one_raw(ours(lock)).await?.is_none() {
            let joined = transaction.query_one_raw(ours("")).await?.is_some();
            transaction.rollback().await?;
            return Ok(!joined);
        }
        // In a statement of its own: it sees what joined before the row was locked.
        let waiting = format!(
            "SELECT EXISTS (SELECT 1 FROM deliveries WHERE {of_key} AND waiting_at IS NOT NULL \
                 AND status < 2) AS waits, \
             EXISTS (SELECT 1 FROM deliveries WHERE {of_key} AND waiting_at IS NOT NULL) AS stale"
        );
        let waiting = Statement::from_sql_and_values(self.backend(), waiting, values());
        let row = transaction.query_one_raw(waiting).await?;
        let read = |column| row.as_ref().map_or(Ok(true), |row| row.try_get("", column));
        if read("waits")? {
            transaction.rollback().await?;
            return Ok(false);
        }
        if read("stale")? {
            // Ended by an earlier release, which knows no places.
            let sql = format!(
                "UPDATE deliveries SET waiting_at = NULL, partition_key = NULL \
                 WHERE {of_key} AND waiting_at IS NOT NULL AND status >= 2"
            );
            let cleared = Statement::from_sql_and_values(self.backend(), sql, values());
            transaction.execute_raw(cleared).await?;
        }
        let sql = format!("DELETE FROM backlogs WHERE {of_key}");
        let ended = Statement::from_sql_and_values(self.backend(), sql, values());
        transaction.execute_raw(ended).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Gives what waits without a backlog one, which is free; gives back how many it made. There
    /// are none but for errors.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn adopt_backlogs(&self) -> Result<u64, StoreError> {
        let (mut last, mut adopted) = ((Uuid::nil(), i64::MIN), 0);
        loop {
            let most = i32::try_from(PASSED).unwrap_or(i32::MAX);
            let values = [last.0.into(), last.1.into(), most.into()];
            let scan = Statement::from_sql_and_values(self.backend(), SKIP_SCAN, values);
            let rows = self.reader.query_all_raw(scan).await?;
            let (mut keys, mut users) = (Vec::new(), Vec::new());
            for row in &rows {
                last = (row.try_get("", "webhook_id")?, row.try_get("", "partition_key")?);
                let (user, missing): (Option<String>, bool) =
                    (row.try_get("", "user_id")?, row.try_get("", "missing")?);
                if let (Some(user), true) = (user, missing) {
                    keys.push(BacklogKey {
                        webhook: WebhookId::from_uuid(last.0),
                        partition: last.1,
                    });
                    users.push(user);
                }
            }
            adopted += self.adopt(keys, users).await?;
            if rows.len() < PASSED {
                break;
            }
        }
        let sql = format!(
            "DELETE FROM leases WHERE name LIKE '{LEASES}%' AND until < {} - {FORGOTTEN}",
            self.clock()
        );
        self.writer.execute_raw(Statement::from_string(self.backend(), sql)).await?;
        Ok(adopted)
    }

    async fn adopt(&self, keys: Vec<BacklogKey>, users: Vec<String>) -> Result<u64, StoreError> {
        let count = keys.len();
        let fields = vec![
            field("webhook_id", webhooks(&keys)),
            field("partition_key", partitions(&keys)),
            field("user_id", Column::Text(users)),
            field("began_at", Column::BigInt(vec![to_micros(now()); count])),
        ];
        let conflict = "ON CONFLICT (webhook_id, partition_key) DO NOTHING";
        let mut adopted = 0;
        if count > 0 {
            for statement in bulk::insert(self.backend(), "backlogs", fields, conflict) {
                adopted += self.writer.execute_raw(statement).await?.rows_affected();
            }
        }
        Ok(adopted)
    }
}
