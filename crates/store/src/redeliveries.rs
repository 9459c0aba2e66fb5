//! What a job delivers: the deliveries of a range, page by page, and what is there of a replay.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use domain::{Cause, DeliveryId, DeliveryStatus, Event};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::{delivery, event};
use crate::instant::{from_micros, to_micros};
use crate::{Job, JobScope, RangePage, Store, StoreError};

/// What is recorded of a delivery, as a job looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// Why it exists.
    pub cause: Cause,
    /// Planned, and not attempted yet.
    pub planned: bool,
    /// When it was planned or first attempted.
    pub at: OffsetDateTime,
}

impl Store {
    /// The next deliveries of the job's range, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn next_of_range(&self, job: &Job, limit: u64) -> Result<RangePage, StoreError> {
        let (at, id) = job.cursor;
        let after = Condition::any()
            .add(delivery::Column::TriggeredAt.gt(at))
            .add(delivery::Column::TriggeredAt.eq(at).and(delivery::Column::Id.gt(id)));
        let rows = range(job)
            // Beside the exact condition, for the index.
            .filter(delivery::Column::TriggeredAt.gte(at))
            .filter(after)
            .order_by_asc(delivery::Column::TriggeredAt)
            .order_by_asc(delivery::Column::Id)
            .limit(limit)
            .all(&self.reader)
            .await?;
        let keys: Vec<Uuid> = rows.iter().map(|row| row.event_key).collect();
        let events = self.events_of(job, &keys).await?;
        let settled = match job.scope {
            JobScope::Failed | JobScope::Cancelled => {
                // What a step of this job delivered before it was cut short is done, not left out.
                let own = events.values().map(|event| job.delivery_of(event).as_uuid());
                self.succeeded_since(job, keys, own.collect()).await?
            }
            JobScope::Success | JobScope::All => HashSet::new(),
        };
        let mut page = RangePage::default();
        for row in rows {
            page.end = Some((row.triggered_at, row.id));
            if settled.contains(&row.event_key) {
                page.skipped += 1;
            } else {
                match events.get(&row.event_key) {
                    Some(event) => page.events.push(event.clone()),
                    None => page.failed += 1,
                }
            }
        }
        Ok(page)
    }

    /// What is recorded of these deliveries.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn recorded(
        &self,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Recorded>, StoreError> {
        let rows = delivery::Entity::find()
            .filter(delivery::Column::Id.is_in(ids.iter().map(DeliveryId::as_uuid)))
            .all(&self.reader)
            .await?;
        let recorded = rows.into_iter().map(|row| {
            let cause =
                Cause::try_from(row.cause).map_err(|e| StoreError::corrupt("delivery", e))?;
            let planned = row.attempts == 0 && row.status == DeliveryStatus::Pending as i16;
            let recorded = Recorded { cause, planned, at: from_micros(row.triggered_at)? };
            Ok((DeliveryId::from_uuid(row.id), recorded))
        });
        recorded.collect()
    }

    /// Which of these events a redelivery has brought to the webhook since, other than `own`.
    async fn succeeded_since(
        &self,
        job: &Job,
        keys: Vec<Uuid>,
        own: Vec<Uuid>,
    ) -> Result<HashSet<Uuid>, StoreError> {
        let found: Vec<Uuid> = delivery::Entity::find()
            .select_only()
            .column(delivery::Column::EventKey)
            .filter(delivery::by_hand())
            .filter(delivery::Column::EventKey.is_in(keys))
            .filter(delivery::Column::Id.is_not_in(own))
            .filter(delivery::Column::WebhookId.eq(job.webhook.as_uuid()))
            .filter(delivery::Column::Status.eq(DeliveryStatus::Success as i16))
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(found.into_iter().collect())
    }

    async fn events_of(
        &self,
        job: &Job,
        keys: &[Uuid],
    ) -> Result<HashMap<Uuid, Event>, StoreError> {
        let found = event::Entity::find().filter(event::Column::Key.is_in(keys.iter().copied()));
        let rows = found.all(&self.reader).await?;
        let events = rows.into_iter().filter_map(|row| {
            let event = Event::from_payload(job.user.clone(), Bytes::from(row.payload)).ok()?;
            Some((row.key, event))
        });
        Ok(events.collect())
    }
}

/// Deliveries of the job's range. Tests are left out: nobody waits for them.
pub(crate) fn range(job: &Job) -> Select<delivery::Entity> {
    use delivery::Column;
    let found = delivery::Entity::find()
        .filter(Column::WebhookId.eq(job.webhook.as_uuid()))
        .filter(Column::TriggeredAt.gte(to_micros(job.since)))
        .filter(Column::TriggeredAt.lt(to_micros(job.until)))
        .filter(Expr::col(Column::Cause).ne(Cause::Test as i16));
    let ended = |status: DeliveryStatus| Column::Status.eq(status as i16);
    match job.scope {
        JobScope::Failed => {
            found.filter(ended(DeliveryStatus::Failed)).filter(delivery::undelivered())
        }
        JobScope::Cancelled => {
            found.filter(ended(DeliveryStatus::Cancelled)).filter(delivery::undelivered())
        }
        JobScope::Success => found.filter(ended(DeliveryStatus::Success)),
        JobScope::All => found.filter(Column::Status.gte(DeliveryStatus::Success as i16)),
    }
}
