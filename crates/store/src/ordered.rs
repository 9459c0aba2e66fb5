//! Webhooks that receive the events of a project in the order of their publication: where their
//! deliveries stand is read from the history of events, by one at a time.

use std::collections::HashSet;

use domain::{Cause, DeliveryId, DeliveryStatus, Event, EventKey, WebhookId};
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::backlog::joining;
use crate::error::is_conflict;
use crate::instant::{from_micros, to_micros};
use crate::outcome_columns::{deliveries, events};
use crate::patience::Patient;
use crate::recording::{insert, rounds};
use crate::{BacklogKey, Outcome, Store, StoreError, Waits, bulk};

/// The row of `cursors`.
const CURSOR: &str = "ordered";

/// Which of the deliveries that are there take their place: those that are nobody's work yet.
const TAKE_PLACE: &str = "ON CONFLICT (id) DO UPDATE SET \
     waiting_at = excluded.waiting_at, partition_key = excluded.partition_key, \
     next_attempt_at = NULL \
     WHERE deliveries.status < 2 AND deliveries.attempts = 0 \
         AND deliveries.waiting_at IS NULL AND deliveries.parked IS NULL";

/// How far the history was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderedCursor {
    /// The last entry that was done; `None` before the first.
    pub entry: Option<EventKey>,
    /// When it was done.
    pub at: OffsetDateTime,
    /// The last place that was given.
    pub place: i64,
}

/// A delivery whose place is known.
#[derive(Clone, Debug)]
pub struct PlacedDelivery {
    /// Which.
    pub id: DeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// Of which project; see [`BacklogKey`].
    pub partition: i64,
    /// What is delivered.
    pub event: Event,
    /// The place.
    pub place: i64,
}

impl Store {
    /// Whether any webhook is ordered.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn any_ordered(&self) -> Result<bool, StoreError> {
        let sql = "SELECT id FROM webhooks WHERE ordered = 1 LIMIT 1";
        let statement = Statement::from_string(self.backend(), sql);
        Ok(self.reader.query_one_raw(statement).await?.is_some())
    }

    /// How far the history was read; `None` when nobody ever has.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn ordered_cursor(&self) -> Result<Option<OrderedCursor>, StoreError> {
        let sql = "SELECT entry, at, place FROM cursors WHERE name = $1";
        let statement = Statement::from_sql_and_values(self.backend(), sql, [CURSOR.into()]);
        let Some(row) = self.reader.query_one_raw(statement).await? else {
            return Ok(None);
        };
        let entry: Option<Uuid> = row.try_get("", "entry")?;
        Ok(Some(OrderedCursor {
            entry: entry.map(EventKey),
            at: from_micros(row.try_get("", "at")?)?,
            place: row.try_get("", "place")?,
        }))
    }

    /// Moves the cursor and gives the deliveries their places, in one transaction: those that are
    /// recorded, have not been attempted and do not wait yet, and with `insert` also those that
    /// are not recorded. Gives back the backlogs that began, which are `holder`'s, or free; `None`, and
    /// nothing done, when the cursor is no longer at `from`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: nothing, or everything, was done.
    pub async fn place_ordered(
        &self,
        placed: &[PlacedDelivery],
        insert: bool,
        from: Option<&OrderedCursor>,
        to: &OrderedCursor,
        holder: Option<&str>,
    ) -> Result<Option<Vec<BacklogKey>>, StoreError> {
        match self.try_place(placed, insert, from, to, holder).await {
            Err(error) if is_conflict(&error) => {
                Ok(self.try_place(placed, insert, from, to, holder).await?)
            }
            done => Ok(done?),
        }
    }

    async fn try_place(
        &self,
        placed: &[PlacedDelivery],
        insert_missing: bool,
        from: Option<&OrderedCursor>,
        to: &OrderedCursor,
        holder: Option<&str>,
    ) -> Result<Option<Vec<BacklogKey>>, DbErr> {
        let transaction = self.writer.begin().await?;
        if !move_cursor(&transaction, from, to).await? {
            transaction.rollback().await?;
            return Ok(None);
        }
        let joined = placed
            .iter()
            .map(|p| (BacklogKey { webhook: p.webhook, partition: p.partition }, &p.event.user));
        let begun = joining::join(&transaction, joined, holder).await?;
        let mut outcomes: Vec<Outcome> = placed.iter().map(planned_at).collect();
        if insert_missing {
            let conflict = "ON CONFLICT (key) DO NOTHING";
            insert(&transaction, "events", events(&outcomes), conflict).await?;
        } else {
            let recorded = lock_recorded(&transaction, placed).await?;
            outcomes.retain(|outcome| recorded.contains(&outcome.delivery.as_uuid()));
        }
        for round in rounds(&outcomes) {
            insert(&transaction, "deliveries", deliveries(&round), TAKE_PLACE).await?;
        }
        transaction.commit().await?;
        Ok(Some(begun))
    }
}

fn planned_at(placed: &PlacedDelivery) -> Outcome {
    Outcome {
        delivery: placed.id,
        webhook: placed.webhook,
        event: placed.event.clone(),
        cause: Cause::Event,
        attempt: 0,
        report: None,
        status: DeliveryStatus::Pending,
        next_attempt_at: None,
        waits: Waits::InBacklog { partition: placed.partition, place: placed.place },
        reason: None,
    }
}

/// False when it is elsewhere.
async fn move_cursor(
    transaction: &Patient<DatabaseTransaction>,
    from: Option<&OrderedCursor>,
    to: &OrderedCursor,
) -> Result<bool, DbErr> {
    fn values(cursor: &OrderedCursor) -> [Value; 3] {
        let entry = cursor.entry.map(|entry| entry.0);
        [entry.into(), to_micros(cursor.at).into(), cursor.place.into()]
    }
    let name: [Value; 1] = [CURSOR.into()];
    let (sql, values) = match from {
        None => (
            "INSERT INTO cursors (name, entry, at, place) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO NOTHING",
            name.into_iter().chain(values(to)).collect::<Vec<_>>(),
        ),
        Some(from) => (
            "UPDATE cursors SET entry = $2, at = $3, place = $4 WHERE name = $1 \
             AND entry IS NOT DISTINCT FROM $5 AND at = $6 AND place = $7",
            name.into_iter().chain(values(to)).chain(values(from)).collect(),
        ),
    };
    let backend = transaction.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, values);
    Ok(transaction.execute_raw(statement).await?.rows_affected() == 1)
}

/// The deliveries that are recorded; on PostgreSQL locked, in the order of those who record.
async fn lock_recorded(
    transaction: &Patient<DatabaseTransaction>,
    placed: &[PlacedDelivery],
) -> Result<HashSet<Uuid>, DbErr> {
    let backend = transaction.get_database_backend();
    let lock = if backend == DatabaseBackend::Postgres { "FOR UPDATE" } else { "" };
    let mut recorded = HashSet::with_capacity(placed.len());
    let mut ids: Vec<Uuid> = placed.iter().map(|placed| placed.id.as_uuid()).collect();
    ids.sort_unstable();
    for ids in ids.chunks(1_000) {
        let (among, values) = bulk::among(backend, ids.to_vec(), 1);
        let sql = format!("SELECT id FROM deliveries WHERE id {among} ORDER BY id {lock}");
        let statement = Statement::from_sql_and_values(backend, sql, values);
        for row in transaction.query_all_raw(statement).await? {
            recorded.insert(row.try_get("", "id")?);
        }
    }
    Ok(recorded)
}
