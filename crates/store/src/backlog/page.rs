//! Reading a backlog, a page at a time: by the index, from one place on, and no more at once than
//! fits.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use domain::{Cause, DeliveryId, DeliveryTask, Event, EventKey, WebhookId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryResult, Statement, Value,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{BacklogKey, BacklogPage, BacklogPlace, Backlogged};
use crate::entity::event;
use crate::instant::{from_micros, to_micros};
use crate::{Store, StoreError};

/// Rows of a page, at most.
const LARGEST_PAGE: u64 = 1_000;

/// Bytes of the deliveries that were outlived, about, at once.
const OUTLIVED_BYTES: u64 = 8 << 20;

/// How far from the beginning a backlog is searched for what was outlived: those who came first
/// are there.
const SEARCHED: u64 = 10_000;

const COLUMNS: &str = "id, event_key, status, cause, attempts, next_attempt_at, triggered_at, \
     payload_size, waiting_at";

const OF_KEY: &str = "FROM deliveries WHERE webhook_id = $1 AND partition_key = $2 \
     AND waiting_at IS NOT NULL";

/// A row of a delivery that waits.
struct Waiting {
    place: BacklogPlace,
    event: Uuid,
    /// It has ended, or is not asked for.
    left_out: bool,
    cause: i16,
    attempts: i32,
    due: Option<i64>,
    triggered_at: i64,
    size: u64,
}

impl Store {
    /// The backlog's deliveries after `after`, or from the beginning; at most `limit` (and at most
    /// 1,000) and about `bytes` of payloads, but at least one. Those of `except` count for `limit`
    /// and are left out, unread; so are those that cannot be read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn backlog_page(
        &self,
        key: BacklogKey,
        after: Option<BacklogPlace>,
        limit: u64,
        bytes: u64,
        except: &HashSet<DeliveryId>,
    ) -> Result<BacklogPage, StoreError> {
        let limit = limit.clamp(1, LARGEST_PAGE);
        let from = if after.is_some() { "AND (waiting_at, id) > ($3, $4)" } else { "" };
        let sql = format!("SELECT {COLUMNS} {OF_KEY} {from} ORDER BY waiting_at, id LIMIT {limit}");
        let after = after.map(|at| [at.place.into(), at.id.as_uuid().into()]);
        let mut found = self.waiting(key, &sql, after.into_iter().flatten()).await?;
        for waiting in &mut found {
            waiting.left_out |= except.contains(&waiting.place.id);
        }
        self.filled(key, found, limit, bytes).await
    }

    /// Deliveries of the backlog that were planned or first attempted before `triggered_before`,
    /// among the 10,000 who came first; at most `limit` and at most 1,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn outlived(
        &self,
        key: BacklogKey,
        triggered_before: OffsetDateTime,
        limit: u64,
    ) -> Result<Vec<Backlogged>, StoreError> {
        let limit = limit.clamp(1, LARGEST_PAGE);
        let sql = format!(
            "SELECT {COLUMNS} FROM (SELECT {COLUMNS} {OF_KEY} ORDER BY waiting_at, id \
             LIMIT {SEARCHED}) AS first WHERE triggered_at < $3 \
             ORDER BY waiting_at, id LIMIT {limit}"
        );
        let found = self.waiting(key, &sql, [to_micros(triggered_before).into()]).await?;
        Ok(self.filled(key, found, limit, OUTLIVED_BYTES).await?.deliveries)
    }

    async fn waiting(
        &self,
        key: BacklogKey,
        sql: &str,
        more: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Waiting>, StoreError> {
        let values = [key.webhook.as_uuid().into(), key.partition.into()].into_iter().chain(more);
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.reader.query_all_raw(statement).await?.iter().map(waiting_of).collect()
    }

    /// The page of what was found, as far as it fits, with its events.
    async fn filled(
        &self,
        key: BacklogKey,
        mut found: Vec<Waiting>,
        limit: u64,
        bytes: u64,
    ) -> Result<BacklogPage, StoreError> {
        let mut full = found.len() as u64 >= limit;
        let mut sum = 0_u64;
        let fits = |waiting: &Waiting| {
            sum = sum.saturating_add(if waiting.left_out { 0 } else { waiting.size });
            sum <= bytes
        };
        let fitting = found.iter().map(fits).take_while(|fits| *fits).count().max(1);
        if fitting < found.len() {
            found.truncate(fitting);
            full = true;
        }
        let last = found.last().map(|waiting| waiting.place);
        // An earlier release ends deliveries without taking them out.
        found.retain(|waiting| !waiting.left_out);
        let events = self.events_of_waiting(&found).await?;
        let deliveries = found.iter().filter_map(|waiting| {
            let id = waiting.place.id;
            // One that cannot be read must not keep the others from being sent.
            backlogged(key.webhook, waiting, &events)
                .inspect_err(|error| tracing::error!(delivery.id = %id, "left out: {error}"))
                .ok()
        });
        Ok(BacklogPage { deliveries: deliveries.collect(), last, full })
    }

    async fn events_of_waiting(
        &self,
        found: &[Waiting],
    ) -> Result<HashMap<Uuid, Result<Event, StoreError>>, StoreError> {
        if found.is_empty() {
            return Ok(HashMap::new());
        }
        let keys = found.iter().map(|waiting| waiting.event);
        let rows =
            event::Entity::find().filter(event::Column::Key.is_in(keys)).all(&self.reader).await?;
        Ok(rows.into_iter().map(|row| (row.key, event_of(row))).collect())
    }
}

fn event_of(row: event::Model) -> Result<Event, StoreError> {
    let user = row.user_id.parse().map_err(|e| StoreError::corrupt("event", e))?;
    Event::from_payload(user, Bytes::from(row.payload)).map_err(|e| StoreError::corrupt("event", e))
}

fn waiting_of(row: &QueryResult) -> Result<Waiting, StoreError> {
    let status: i16 = row.try_get("", "status")?;
    let size: i64 = row.try_get("", "payload_size")?;
    Ok(Waiting {
        place: BacklogPlace {
            place: row.try_get("", "waiting_at")?,
            id: DeliveryId::from_uuid(row.try_get("", "id")?),
        },
        event: row.try_get("", "event_key")?,
        left_out: status >= 2,
        cause: row.try_get("", "cause")?,
        attempts: row.try_get("", "attempts")?,
        due: row.try_get("", "next_attempt_at")?,
        triggered_at: row.try_get("", "triggered_at")?,
        size: u64::try_from(size).unwrap_or(0),
    })
}

fn backlogged(
    webhook: WebhookId,
    waiting: &Waiting,
    events: &HashMap<Uuid, Result<Event, StoreError>>,
) -> Result<Backlogged, StoreError> {
    let event = match events.get(&waiting.event) {
        Some(Ok(event)) => event.clone(),
        Some(Err(error)) => return Err(StoreError::corrupt("event", error)),
        None => {
            let missing = format!("there is none with the key {:?}", EventKey(waiting.event));
            return Err(StoreError::corrupt("event", missing));
        }
    };
    let attempts =
        u32::try_from(waiting.attempts).map_err(|e| StoreError::corrupt("delivery", e))?;
    let task = DeliveryTask {
        id: waiting.place.id,
        webhook,
        event,
        attempt: attempts + 1,
        not_before: waiting.due.map(from_micros).transpose()?,
        cause: Cause::try_from(waiting.cause).map_err(|e| StoreError::corrupt("delivery", e))?,
    };
    Ok(Backlogged { place: waiting.place, task, triggered_at: from_micros(waiting.triggered_at)? })
}
