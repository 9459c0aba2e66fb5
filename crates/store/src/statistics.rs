//! How webhooks have been doing, read from a few rows however many deliveries there were.

use sea_orm::sea_query::Expr;
use sea_orm::{QueryResult, QuerySelect, Select};

use crate::entity::webhook;
use crate::instant::{day_of, from_micros, now, to_micros};
use crate::{StoreError, WebhookStats};

/// Days that count for a success rate, today included.
const RATE_DAYS: i32 = 7;

/// The same webhooks with their statistics beside them, in one statement: a second one would
/// double the time that a list takes.
pub(crate) fn with_statistics(webhooks: Select<webhook::Entity>) -> Select<webhook::Entity> {
    let after = day_of(to_micros(now())) - RATE_DAYS;
    let of = |what: &str| Expr::cust(format!("(SELECT {what})"));
    let recent = format!("FROM webhook_days WHERE webhook_id = webhooks.id AND day > {after}");
    webhooks
        .expr_as(of(&format!("CAST(SUM(succeeded) AS BIGINT) {recent}")), "succeeded")
        .expr_as(of(&format!("CAST(SUM(failed) AS BIGINT) {recent}")), "failed")
        .expr_as(
            of("last_triggered_at FROM webhook_days \
                WHERE webhook_id = webhooks.id ORDER BY day DESC LIMIT 1"),
            "last",
        )
}

/// The statistics in a row; a webhook that was never triggered has none.
pub(crate) fn statistics_of(row: &QueryResult) -> Result<WebhookStats, StoreError> {
    let succeeded: Option<i64> = row.try_get("", "succeeded")?;
    let failed: Option<i64> = row.try_get("", "failed")?;
    let last: Option<i64> = row.try_get("", "last")?;
    Ok(WebhookStats {
        last_triggered_at: last.map(from_micros).transpose()?,
        success_rate: rate(succeeded.unwrap_or(0), failed.unwrap_or(0)),
    })
}

fn rate(succeeded: i64, failed: i64) -> Option<f64> {
    let ended = succeeded + failed;
    (ended > 0).then(|| succeeded as f64 / ended as f64)
}
