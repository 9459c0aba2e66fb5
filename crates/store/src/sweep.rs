//! Deliveries whose next attempt is overdue.

use bytes::Bytes;
use domain::{Cause, DeliveryId, Event, UserId, WebhookId};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use time::OffsetDateTime;

use crate::entity::{delivery, event};
use crate::instant::{from_micros, to_micros};
use crate::{Overdue, Store, StoreError};

/// Overdue deliveries are counted up to here.
const COUNTED: u64 = 10_000;

impl Store {
    /// Deliveries whose next attempt was due before `due_before`, the most overdue first, at
    /// most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn overdue(
        &self,
        due_before: OffsetDateTime,
        limit: u64,
    ) -> Result<Vec<Overdue>, StoreError> {
        let rows = delivery::Entity::find()
            .filter(delivery::Column::NextAttemptAt.lt(to_micros(due_before)))
            .order_by_asc(delivery::Column::NextAttemptAt)
            .limit(limit)
            .all(self.connection())
            .await?;
        let keys = rows.iter().map(|row| row.event_key);
        let events = event::Entity::find()
            .filter(event::Column::Key.is_in(keys))
            .all(self.connection())
            .await?;
        let events: std::collections::HashMap<_, _> =
            events.into_iter().map(|event| (event.key, event)).collect();
        rows.into_iter()
            .filter_map(|row| Some((events.get(&row.event_key)?.clone(), row)))
            .map(|(event, row)| overdue(row, event))
            .collect()
    }

    /// How many there are, counted up to 10,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn count_overdue(&self, due_before: OffsetDateTime) -> Result<u64, StoreError> {
        let counted = delivery::Entity::find()
            .filter(delivery::Column::NextAttemptAt.lt(to_micros(due_before)))
            .limit(COUNTED)
            .count(self.connection())
            .await?;
        Ok(counted)
    }

    /// Lets these deliveries be overdue only after `next_attempt_at`: they were published again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn postpone(
        &self,
        ids: &[DeliveryId],
        next_attempt_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        delivery::Entity::update_many()
            .col_expr(delivery::Column::NextAttemptAt, Expr::value(to_micros(next_attempt_at)))
            .filter(delivery::Column::Id.is_in(ids.iter().map(DeliveryId::as_uuid)))
            .filter(delivery::Column::NextAttemptAt.is_not_null())
            .exec(self.connection())
            .await?;
        Ok(())
    }
}

fn overdue(row: delivery::Model, event: event::Model) -> Result<Overdue, StoreError> {
    let corrupt = |message: String| StoreError::Corrupt { what: "delivery", message };
    let user: UserId = event.user_id.parse().map_err(|_| corrupt("its user".into()))?;
    Ok(Overdue {
        delivery: DeliveryId::from_uuid(row.id),
        webhook: WebhookId::from_uuid(row.webhook_id),
        event: Event::from_payload(user, Bytes::from(event.payload))
            .map_err(|e| corrupt(e.to_string()))?,
        cause: Cause::try_from(row.cause).map_err(|e| corrupt(e.to_string()))?,
        attempts: u32::try_from(row.attempts).unwrap_or(0),
        next_attempt_at: from_micros(row.next_attempt_at.unwrap_or_default())?,
    })
}
