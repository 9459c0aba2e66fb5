//! How webhooks have been doing, read from a few rows however many deliveries there were.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

use crate::instant::{day_of, from_micros, now, to_micros};
use crate::{Store, StoreError, WebhookStats, bulk};

/// Days that count for a success rate, today included.
const RATE_DAYS: i32 = 7;

impl Store {
    /// The statistics of these webhooks; one that was never triggered has none.
    pub(crate) async fn statistics(
        &self,
        webhooks: Vec<Uuid>,
    ) -> Result<HashMap<Uuid, WebhookStats>, StoreError> {
        if webhooks.is_empty() {
            return Ok(HashMap::new());
        }
        let after = day_of(to_micros(now())) - RATE_DAYS;
        let (among, ids) = bulk::among(self.backend(), webhooks, 2);
        let sum = |column: &str| {
            format!(
                "(SELECT CAST(SUM({column}) AS BIGINT) FROM webhook_days \
                 WHERE webhook_id = webhooks.id AND day > $1)"
            )
        };
        let sql = format!(
            "SELECT id, {} AS succeeded, {} AS failed, \
             (SELECT last_triggered_at FROM webhook_days \
              WHERE webhook_id = webhooks.id ORDER BY day DESC LIMIT 1) AS last \
             FROM webhooks WHERE id {among}",
            sum("succeeded"),
            sum("failed")
        );
        let values = std::iter::once(after.into()).chain(ids);
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let mut found = HashMap::new();
        for row in self.reader.query_all_raw(statement).await? {
            let succeeded: Option<i64> = row.try_get("", "succeeded")?;
            let failed: Option<i64> = row.try_get("", "failed")?;
            let last: Option<i64> = row.try_get("", "last")?;
            let stats = WebhookStats {
                last_triggered_at: last.map(from_micros).transpose()?,
                success_rate: rate(succeeded.unwrap_or(0), failed.unwrap_or(0)),
            };
            found.insert(row.try_get("", "id")?, stats);
        }
        Ok(found)
    }
}

fn rate(succeeded: i64, failed: i64) -> Option<f64> {
    let ended = succeeded + failed;
    (ended > 0).then(|| succeeded as f64 / ended as f64)
}
