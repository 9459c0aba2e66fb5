//! Deliveries and attempts, as the API's logs show them.

use bytes::Bytes;
use domain::{Cause, DeliveryId, DeliveryStatus, EventId, UserId, WebhookId};
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use crate::counting::{Seen, total};
use crate::entity::{attempt, delivery, event, webhook};
use crate::instant::{from_micros, to_micros};
use crate::recording::carried;
use crate::{
    AttemptRow, Carried, DeliveryFilter, DeliveryPlace, DeliveryRow, EventRow, Page, PageRequest,
    Store, StoreError,
};

/// Deliveries shown with their event, at most.
const SHOWN: u64 = 1_000;

impl Store {
    /// The deliveries of the user's webhook that pass `filter`, newest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown webhook and another user's.
    pub async fn deliveries(
        &self,
        user: &UserId,
        id: WebhookId,
        filter: &DeliveryFilter,
        page: PageRequest,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        self.check_owner(user, id).await?;
        let found = filtered(id, filter);
        let list = found.clone();
        let found = match (filter.after, page.offset()) {
            (None, 0) => found,
            (None, before) => {
                // Rows to skip are read from the index alone.
                let page = newest_first(found).offset(before).limit(page.rows() + 1);
                let ids = page.select_only().column(delivery::Column::Id);
                let ids: Vec<Uuid> = ids.into_tuple().all(&self.reader).await?;
                delivery::Entity::find().filter(delivery::Column::Id.is_in(ids))
            }
            (Some(last), _) => found.filter(follows(last)),
        };
        let rows = newest_first(found).limit(page.rows() + 1).all(&self.reader).await?;
        let (rows, more) = page.cut(rows);
        let before = filter.after.is_none().then(|| page.offset());
        let seen = Seen { before, rows: rows.len(), more };
        let (total, total_capped) = total(&self.reader, list, seen).await?;
        let items = self.with_events(rows).await?;
        Ok(Page { items, total, total_capped, more })
    }

    /// One delivery of the user's webhook, with its event and its attempts, the first first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for what is unknown, another webhook's or another user's.
    pub async fn delivery(
        &self,
        user: &UserId,
        webhook: WebhookId,
        id: DeliveryId,
    ) -> Result<(DeliveryRow, EventRow, Vec<AttemptRow>), StoreError> {
        self.check_owner(user, webhook).await?;
        let row = delivery::Entity::find_by_id(id.as_uuid())
            .filter(delivery::Column::WebhookId.eq(webhook.as_uuid()))
            .one(&self.reader)
            .await?
            .ok_or(StoreError::NotFound)?;
        let event = event::Entity::find_by_id(row.event_key)
            .one(&self.reader)
            .await?
            .ok_or(StoreError::NotFound)?;
        let attempts = match only_attempt(&row) {
            Some(only) => vec![only?],
            None => self.attempts(row.id).await?,
        };
        Ok((delivery_of(row, &event.event_id)?, event_of(event)?, attempts))
    }

    async fn attempts(&self, delivery: Uuid) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = attempt::Entity::find()
            .filter(attempt::Column::DeliveryId.eq(delivery))
            .order_by_asc(attempt::Column::Number)
            .all(&self.reader)
            .await?;
        rows.into_iter().map(attempt_of).collect()
    }

    /// One event of the user and its deliveries to webhooks that still exist, with those asked
    /// for by hand; the oldest first, at most 1,000.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown event and another user's.
    pub async fn event(
        &self,
        user: &UserId,
        id: &EventId,
    ) -> Result<(EventRow, Vec<DeliveryRow>), StoreError> {
        let key = domain::EventKey::of(user, id);
        let event = event::Entity::find_by_id(key.0)
            .one(&self.reader)
            .await?
            .ok_or(StoreError::NotFound)?;
        let rows = delivery::Entity::find()
            .filter(self.caused_by(user, id, key.0).await?)
            .order_by_asc(delivery::Column::TriggeredAt)
            .order_by_asc(delivery::Column::Id)
            .limit(SHOWN)
            .all(&self.reader)
            .await?;
        let rows = rows
            .into_iter()
            .map(|row| delivery_of(row, &event.event_id))
            .collect::<Result<_, _>>()?;
        Ok((event_of(event)?, rows))
    }

    /// Deliveries of an event. What publishing it caused has derived ids, one for each webhook,
    /// and needs no index; what was asked for by hand is rare and has a partial one.
    async fn caused_by(
        &self,
        user: &UserId,
        id: &EventId,
        key: Uuid,
    ) -> Result<Condition, StoreError> {
        let webhooks = self.webhook_ids(user).await?.into_iter();
        let derived = webhooks.map(|webhook| DeliveryId::derive(user, id, webhook, "").as_uuid());
        let by_hand = delivery::by_hand().and(delivery::Column::EventKey.eq(key));
        Ok(Condition::any().add(delivery::Column::Id.is_in(derived)).add(by_hand))
    }

    pub(crate) async fn check_owner(&self, user: &UserId, id: WebhookId) -> Result<(), StoreError> {
        let found = webhook::Entity::find_by_id(id.as_uuid())
            .filter(webhook::Column::UserId.eq(user.as_str()))
            .select_only()
            .column(webhook::Column::Id)
            .into_tuple::<Uuid>()
            .one(&self.reader)
            .await?;
        found.map(drop).ok_or(StoreError::NotFound)
    }

    /// The rows with the ids of their events, in two queries instead of a join over payloads.
    async fn with_events(
        &self,
        rows: Vec<delivery::Model>,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let keys = rows.iter().map(|row| row.event_key);
        let ids: Vec<(Uuid, String)> = event::Entity::find()
            .select_only()
            .column(event::Column::Key)
            .column(event::Column::EventId)
            .filter(event::Column::Key.is_in(keys))
            .into_tuple()
            .all(&self.reader)
            .await?;
        let ids: std::collections::HashMap<_, _> = ids.into_iter().collect();
        rows.into_iter()
            .filter_map(|row| Some((ids.get(&row.event_key)?, row)))
            .map(|(id, row)| delivery_of(row, id))
            .collect()
    }
}

fn newest_first(found: Select<delivery::Entity>) -> Select<delivery::Entity> {
    found.order_by_desc(delivery::Column::TriggeredAt).order_by_desc(delivery::Column::Id)
}

/// In one comparison of both columns, which the index `deliveries_by_webhook` answers.
fn follows(last: DeliveryPlace) -> SimpleExpr {
    let columns = [delivery::Column::TriggeredAt, delivery::Column::Id].map(Expr::col);
    let values = [Expr::value(last.micros), Expr::value(last.id.as_uuid())];
    Expr::tuple(columns).lt(Expr::tuple(values))
}

fn filtered(id: WebhookId, filter: &DeliveryFilter) -> Select<delivery::Entity> {
    let mut found = delivery::Entity::find().filter(delivery::Column::WebhookId.eq(id.as_uuid()));
    if let Some(status) = filter.status {
        found = found.filter(delivery::Column::Status.eq(status as i16));
        if status != DeliveryStatus::Success {
            found = found.filter(delivery::undelivered());
        }
    }
    if let Some(kind) = filter.event {
        found = found.filter(delivery::Column::EventKind.eq(kind.as_str()));
    }
    if let Some(since) = filter.since {
        found = found.filter(delivery::Column::TriggeredAt.gte(to_micros(since)));
    }
    if let Some(until) = filter.until {
        found = found.filter(delivery::Column::TriggeredAt.lt(to_micros(until)));
    }
    found
}

fn delivery_of(row: delivery::Model, event_id: &str) -> Result<DeliveryRow, StoreError> {
    let corrupt = |message: String| StoreError::Corrupt { what: "delivery", message };
    Ok(DeliveryRow {
        id: DeliveryId::from_uuid(row.id),
        webhook: WebhookId::from_uuid(row.webhook_id),
        event_id: event_id.parse().map_err(|_| corrupt("its event id".into()))?,
        event_type: row.event_kind.parse().map_err(|_| corrupt("its event type".into()))?,
        status: DeliveryStatus::try_from(row.status).map_err(|e| corrupt(e.to_string()))?,
        cause: Cause::try_from(row.cause).map_err(|e| corrupt(e.to_string()))?,
        attempts: u32::try_from(row.attempts).unwrap_or(0),
        status_code: row.status_code.and_then(|code| u16::try_from(code).ok()),
        error: row.error,
        response_time_ms: row.response_time_ms.and_then(|ms| u64::try_from(ms).ok()),
        triggered_at: from_micros(row.triggered_at)?,
        next_attempt_at: row.next_attempt_at.map(from_micros).transpose()?,
        payload_size: u64::try_from(row.payload_size).unwrap_or(0),
        // An earlier release ends deliveries without taking them out of a backlog.
        carried: if row.status < 2 { carried(row.waiting_at, row.parked) } else { Carried::No },
    })
}

fn event_of(row: event::Model) -> Result<EventRow, StoreError> {
    let corrupt = |message: &str| StoreError::Corrupt { what: "event", message: message.into() };
    Ok(EventRow {
        id: row.event_id.parse().map_err(|_| corrupt("its id"))?,
        kind: row.kind.parse().map_err(|_| corrupt("its type"))?,
        created_at: from_micros(row.created_at)?,
        payload: Bytes::from(row.payload),
    })
}

/// The attempt of a delivery that succeeded at once, which stands in the delivery's own row.
fn only_attempt(row: &delivery::Model) -> Option<Result<AttemptRow, StoreError>> {
    let at_once = row.status == DeliveryStatus::Success as i16 && row.attempts == 1;
    at_once.then(|| {
        attempt_of(attempt::Model {
            delivery_id: row.id,
            number: row.attempts,
            started_at: row.triggered_at,
            response_time_ms: row.response_time_ms.unwrap_or_default(),
            status_code: row.status_code,
            error_kind: None,
            error: None,
            response_body: row.response_body.clone(),
            address: row.address.clone(),
        })
    })
}

fn attempt_of(row: attempt::Model) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        number: u32::try_from(row.number).unwrap_or(0),
        started_at: from_micros(row.started_at)?,
        response_time_ms: u64::try_from(row.response_time_ms).unwrap_or(0),
        status_code: row.status_code.and_then(|code| u16::try_from(code).ok()),
        error_kind: row.error_kind,
        error: row.error,
        response_body: row.response_body,
        address: row.address,
    })
}
