//! How much waits.

use domain::WebhookId;
use sea_orm::{ConnectionTrait, Statement};

use super::{BacklogDepth, time_of};
use crate::{Store, StoreError};

/// Waiting deliveries of a webhook are counted up to here, and all up to there.
const COUNTED: u64 = 10_000;
const ALL_COUNTED: u64 = 100_000;

impl Store {
    /// How much waits of a webhook.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn backlog_of(&self, webhook: WebhookId) -> Result<BacklogDepth, StoreError> {
        // The first of each backlog, by the index.
        let sql = "SELECT MIN(first) AS since, MIN(silent_since) AS silent_since FROM ( \
                   SELECT silent_since, (SELECT MIN(waiting_at) FROM deliveries \
                       WHERE deliveries.webhook_id = backlogs.webhook_id \
                       AND deliveries.partition_key = backlogs.partition_key \
                       AND waiting_at IS NOT NULL) AS first \
                   FROM backlogs WHERE webhook_id = $1) AS firsts";
        let values = [webhook.as_uuid().into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values.clone());
        let times = self.reader.query_one_raw(statement).await?;
        let counting = format!(
            "SELECT COUNT(*) AS counted FROM (SELECT 1 FROM deliveries WHERE webhook_id = $1 \
             AND waiting_at IS NOT NULL LIMIT {}) AS found",
            COUNTED + 1
        );
        let statement = Statement::from_sql_and_values(self.backend(), counting, values);
        let counted = self.counted(statement).await?;
        let time = |column| match &times {
            Some(row) => time_of(row, column),
            None => Ok(None),
        };
        Ok(BacklogDepth {
            waiting: counted.min(COUNTED),
            capped: counted > COUNTED,
            since: time("since")?,
            silent_since: time("silent_since")?,
        })
    }

    /// How many backlogs there are, and how many deliveries wait in them, counted up to 100,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn backlog_totals(&self) -> Result<(u64, u64), StoreError> {
        let backlogs = "SELECT COUNT(*) AS counted FROM backlogs";
        // In the order of the index that holds just these.
        let waiting = format!(
            "SELECT COUNT(*) AS counted FROM (SELECT 1 FROM deliveries \
             WHERE waiting_at IS NOT NULL ORDER BY webhook_id, partition_key \
             LIMIT {ALL_COUNTED}) AS found"
        );
        let backlogs = self.counted(Statement::from_string(self.backend(), backlogs)).await?;
        let waiting = self.counted(Statement::from_string(self.backend(), waiting)).await?;
        Ok((backlogs, waiting))
    }

    async fn counted(&self, statement: Statement) -> Result<u64, StoreError> {
        let row = self.reader.query_one_raw(statement).await?;
        let counted: i64 = row.map_or(Ok(0), |row| row.try_get("", "counted"))?;
        Ok(u64::try_from(counted).unwrap_or(0))
    }
}
