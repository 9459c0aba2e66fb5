//! Deliveries whose next attempt is overdue. Those that have ended have no next attempt, so a
//! partial index over `next_attempt_at` holds just the others.

use std::collections::HashMap;

use bytes::Bytes;
use domain::{Cause, DeliveryId, Event, UserId, WebhookId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    Statement,
};
use time::OffsetDateTime;

use crate::counting::count_up_to;
use crate::entity::{delivery, event};
use crate::error::is_conflict;
use crate::instant::{from_micros, now, to_micros};
use crate::{Overdue, Store, StoreError, bulk};

/// Overdue deliveries are counted up to here.
const COUNTED: u64 = 10_000;

/// Rows read or changed by one statement, at most.
const CHUNK: usize = 1_000;

impl Store {
    /// Deliveries whose next attempt was due before `due_before`, the most overdue first, at
    /// most `limit` and at most 1,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn overdue(
        &self,
        due_before: OffsetDateTime,
        limit: u64,
    ) -> Result<Vec<Overdue>, StoreError> {
        let rows = due(due_before)
            .order_by_asc(delivery::Column::NextAttemptAt)
            .limit(limit.min(CHUNK as u64))
            .all(&self.reader)
            .await?;
        let keys = rows.iter().map(|row| row.event_key);
        let events =
            event::Entity::find().filter(event::Column::Key.is_in(keys)).all(&self.reader).await?;
        let events: HashMap<_, _> = events.into_iter().map(|event| (event.key, event)).collect();
        let readable = rows.into_iter().filter_map(|row| {
            let event = events.get(&row.event_key)?;
            let id = DeliveryId::from_uuid(row.id);
            // One that cannot be read must not keep the others from being found.
            overdue(row, event)
                .inspect_err(|error| tracing::error!(delivery.id = %id, "left out: {error}"))
                .ok()
        });
        Ok(readable.collect())
    }

    /// How many there are, counted up to 10,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn count_overdue(&self, due_before: OffsetDateTime) -> Result<u64, StoreError> {
        count_up_to(&self.reader, due(due_before), COUNTED).await
    }

    /// Lets these overdue deliveries be overdue again only after `next_attempt_at`: they were
    /// published once more. One that has been attempted since keeps its own time, and one that waits in a
    /// backlog its place.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn postpone(
        &self,
        ids: &[DeliveryId],
        next_attempt_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        for chunk in ids.chunks(CHUNK) {
            match self.try_postpone(chunk, next_attempt_at).await {
                Err(error) if is_conflict(&error) => {
                    self.try_postpone(chunk, next_attempt_at).await?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn try_postpone(&self, ids: &[DeliveryId], until: OffsetDateTime) -> Result<(), DbErr> {
        let (among, ids) =
            bulk::among(self.backend(), ids.iter().map(DeliveryId::as_uuid).collect(), 3);
        let sql = format!(
            "UPDATE deliveries SET next_attempt_at = $1, parked = NULL \
             WHERE next_attempt_at <= $2 AND waiting_at IS NULL AND id {among}"
        );
        let values = [to_micros(until).into(), to_micros(now()).into()].into_iter().chain(ids);
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.writer.execute_raw(statement).await.map(drop)
    }
}

fn due(before: OffsetDateTime) -> Select<delivery::Entity> {
    delivery::Entity::find()
        .filter(delivery::Column::NextAttemptAt.lt(to_micros(before)))
        // Whoever holds the backlog knows what is due in it.
        .filter(delivery::Column::WaitingAt.is_null())
}

fn overdue(row: delivery::Model, event: &event::Model) -> Result<Overdue, StoreError> {
    fn corrupt(error: impl std::fmt::Display) -> StoreError {
        StoreError::corrupt("delivery", error)
    }
    let user: UserId = event.user_id.parse().map_err(corrupt)?;
    Ok(Overdue {
        delivery: DeliveryId::from_uuid(row.id),
        webhook: WebhookId::from_uuid(row.webhook_id),
        event: Event::from_payload(user, Bytes::from(event.payload.clone())).map_err(corrupt)?,
        cause: Cause::try_from(row.cause).map_err(corrupt)?,
        attempts: u32::try_from(row.attempts).map_err(corrupt)?,
        next_attempt_at: from_micros(row.next_attempt_at.unwrap_or_default())?,
    })
}
