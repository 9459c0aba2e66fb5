//! What is old is removed a little at a time: deliveries that ended before a given time, with
//! their attempts, and their events. What has not ended stays, however old it is.
//!
//! Webhook by webhook, along the index that the logs are read by: nothing is written for it when
//! deliveries are recorded, and what is kept is never looked at.

use std::collections::HashSet;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseBackend, DbErr, Statement, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::is_conflict;
use crate::instant::{day_of, to_micros};
use crate::{Store, StoreError, bulk};

/// Deliveries removed by one step: at first, at least and at most.
const BATCH: usize = 100;
const FEWEST: usize = 50;
const MOST: usize = 500;

/// How long a step should take: whoever writes meanwhile waits for what it wrote.
const STEP: Duration = Duration::from_millis(5);

/// Webhooks with nothing old that one step passes, at most.
const PASSED: usize = 100;

/// Old deliveries without an end whose events are kept, at most: beyond, a round waits.
const UNFINISHED: usize = 100_000;

/// An original delivery is made this long after its event's others, at most (microseconds): an
/// event of which one has not ended by then is kept although others are old.
const APART: i64 = 7 * 86_400_000_000;

/// A round that removes what is old.
#[derive(Debug)]
pub struct Retention {
    before: i64,
    /// Events that a delivery needs which has not ended.
    needed: HashSet<Uuid>,
    /// Webhooks up to this one are done.
    done: Uuid,
    /// The one that is not, and whether anything of it was removed.
    at: Option<(Uuid, bool)>,
    /// Deliveries of the next step, at most.
    batch: usize,
}

impl Retention {
    /// Lets the next step be shorter or longer, after one that took `took`.
    pub fn pace(&mut self, took: Duration) {
        let batch = if took > STEP { self.batch / 2 } else { self.batch + self.batch / 4 };
        self.batch = batch.clamp(FEWEST, MOST);
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many deliveries were removed; there may be more.
    Removed(u64),
    /// Nothing old is left.
    Done,
}

impl Store {
    /// Begins to remove what ended before `before`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn retention(&self, before: OffsetDateTime) -> Result<Retention, StoreError> {
        let before = to_micros(before);
        self.forget_suspects(before).await?;
        let sql = format!(
            "SELECT event_key FROM deliveries WHERE next_attempt_at > 0 \
             AND triggered_at < $1 LIMIT {UNFINISHED}"
        );
        let bound = before.saturating_add(APART);
        let mut rows = self.rows(&sql, [bound.into()]).await?;
        // What waits in a backlog has no time at which it is due.
        let waiting = sql.replace("next_attempt_at > 0", "waiting_at > 0");
        rows.extend(self.rows(&waiting, [bound.into()]).await?);
        let needed: HashSet<Uuid> =
            rows.iter().map(|row| row.try_get("", "event_key")).collect::<Result<_, _>>()?;
        if rows.len() >= UNFINISHED {
            let waiting = "too many old deliveries have not ended; nothing is removed before";
            return Err(StoreError::Unavailable(waiting.to_owned()));
        }
        Ok(Retention { before, needed, done: Uuid::nil(), at: None, batch: BATCH })
    }

    /// Removes some; call it until it is done, with pauses for others.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: the step can be tried again.
    pub async fn remove_old(&self, round: &mut Retention) -> Result<Step, StoreError> {
        for _ in 0..PASSED {
            let (webhook, removed_before) = match round.at {
                Some(at) => at,
                None => match self.next_webhook(round.done).await? {
                    Some(next) => (next, false),
                    None => return self.finish_round().await,
                },
            };
            let old = self.old_deliveries(webhook, round.before, round.batch).await?;
            if !old.is_empty() {
                match self.try_remove(&old, &round.needed).await {
                    Err(error) if is_conflict(&error) => {
                        self.try_remove(&old, &round.needed).await?;
                    }
                    other => other?,
                }
            }
            let removed = removed_before || !old.is_empty();
            round.at = Some((webhook, removed));
            if old.len() < round.batch {
                if removed {
                    self.remove_days(webhook, round.before).await?;
                }
                (round.done, round.at) = (webhook, None);
            }
            if !old.is_empty() {
                return Ok(Step::Removed(old.len() as u64));
            }
        }
        Ok(Step::Removed(0))
    }

    /// The first webhook with deliveries after `after`, also one that was deleted.
    async fn next_webhook(&self, after: Uuid) -> Result<Option<Uuid>, StoreError> {
        let sql = "SELECT webhook_id FROM deliveries WHERE webhook_id > $1 \
                   ORDER BY webhook_id LIMIT 1";
        let rows = self.rows(sql, [after.into()]).await?;
        Ok(rows.first().map(|row| row.try_get("", "webhook_id")).transpose()?)
    }

    /// Deliveries of the webhook that ended before, with their events.
    async fn old_deliveries(
        &self,
        webhook: Uuid,
        before: i64,
        most: usize,
    ) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let sql = format!(
            "SELECT id, event_key FROM deliveries WHERE webhook_id = $1 AND triggered_at < $2 \
             AND status >= 2 ORDER BY triggered_at, id LIMIT {most}"
        );
        let rows = self.rows(&sql, [webhook.into(), before.into()]).await?;
        let read = |row: &sea_orm::QueryResult| {
            Ok::<_, DbErr>((row.try_get("", "id")?, row.try_get("", "event_key")?))
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn try_remove(&self, old: &[(Uuid, Uuid)], needed: &HashSet<Uuid>) -> Result<(), DbErr> {
        // Sorted as those do who record: nobody waits in a circle.
        let mut ids: Vec<Uuid> = old.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let mut events: Vec<Uuid> =
            old.iter().map(|(_, event)| *event).filter(|key| !needed.contains(key)).collect();
        events.sort_unstable();
        events.dedup();
        let transaction = self.writer.begin().await?;
        delete(&transaction, "attempts WHERE delivery_id", ids.clone(), "").await?;
        delete(&transaction, "deliveries WHERE id", ids, " AND status >= 2").await?;
        // What was asked for by hand, later, needs its event longer.
        let unneeded = " AND NOT EXISTS (SELECT 1 FROM deliveries \
                        WHERE deliveries.event_key = events.key AND cause <> 0)";
        delete(&transaction, "events WHERE key", events, unneeded).await?;
        transaction.commit().await
    }

    /// Old days of the webhook, but for the last, which tells when it was last triggered.
    async fn remove_days(&self, webhook: Uuid, before: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM webhook_days WHERE webhook_id = $1 AND day < $2 \
                   AND day < (SELECT MAX(day) FROM webhook_days WHERE webhook_id = $1)";
        let values: [Value; 2] = [webhook.into(), day_of(before).into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.writer.execute_raw(statement).await?;
        Ok(())
    }

    /// The health of webhooks that were deleted while an outcome was on its way.
    async fn finish_round(&self) -> Result<Step, StoreError> {
        let sql = "DELETE FROM webhook_health WHERE NOT EXISTS \
                   (SELECT 1 FROM webhooks WHERE webhooks.id = webhook_health.webhook_id)";
        self.writer.execute_raw(Statement::from_string(self.backend(), sql)).await?;
        Ok(Step::Done)
    }

    async fn rows(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<sea_orm::QueryResult>, StoreError> {
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        Ok(self.reader.query_all_raw(statement).await?)
    }
}

/// `DELETE FROM table WHERE column` is one of `ids` and `more`.
pub(crate) async fn delete(
    connection: &impl ConnectionTrait,
    table_and_column: &str,
    ids: Vec<Uuid>,
    more: &str,
) -> Result<u64, DbErr> {
    if ids.is_empty() {
        return Ok(0);
    }
    let backend: DatabaseBackend = connection.get_database_backend();
    let (among, values) = bulk::among(backend, ids, 1);
    let sql = format!("DELETE FROM {table_and_column} {among}{more}");
    let statement = Statement::from_sql_and_values(backend, sql, values);
    Ok(connection.execute_raw(statement).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_took_long_is_followed_by_shorter_ones_within_bounds() {
        let mut round = Retention {
            before: 0,
            needed: HashSet::new(),
            done: Uuid::nil(),
            at: None,
            batch: BATCH,
        };
        for _ in 0..20 {
            round.pace(Duration::from_millis(1));
        }
        assert_eq!(round.batch, MOST);
        round.pace(Duration::from_millis(6));
        assert_eq!(round.batch, MOST / 2);
        for _ in 0..20 {
            round.pace(Duration::from_secs(1));
        }
        assert_eq!(round.batch, FEWEST);
    }
}
