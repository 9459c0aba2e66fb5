//! Gives the deliveries of ordered webhooks their places: those of their events in the history, which
//! is the order of publication. Several dispatchers take events from one queue, so that the order of
//! taking is not that of publishing; one at a time reads the history, from where the last one was.

use std::sync::Arc;
use std::time::Duration;

use broker::{HistoryEntry, HistoryReader};
use domain::{DeliveryId, Event, EventKey, partition_of};
use store::{OrderedCursor, PlacedDelivery, StoreError};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::Context;
use crate::intake::patiently;

/// How often it is looked whether any webhook is ordered, when no change is announced.
const LOOK: Duration = Duration::from_secs(5);

/// Announced changes are gathered this long.
const GATHERED: Duration = Duration::from_millis(100);

/// Who places has this long to say that it still does.
const LEASE: Duration = Duration::from_secs(15);

/// Entries are gathered this long into one transaction, and so many at most.
const LINGER: Duration = Duration::from_millis(20);
const TOGETHER: usize = 500;

/// How often it is written down how far the history was read while nothing was to be placed.
const NOTED_EVERY: Duration = Duration::from_secs(5);

/// Reading begins this long before the last entry that was placed: clocks differ, and what is read
/// again changes nothing.
const BEFORE: Duration = Duration::from_secs(60);

/// Places until the stop, while any webhook is ordered; of several dispatchers one does.
pub(crate) async fn run(context: Arc<Context>) {
    let holder = context.backlogs.holder();
    let mut away = false;
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = context.webhooks_changed.notified() => tokio::time::sleep(GATHERED).await,
            () = tokio::time::sleep(LOOK) => {}
        }
        let placed = tokio::select! {
            () = context.stop.cancelled() => break,
            placed = place(&context, &holder) => placed,
        };
        match placed {
            Ok(()) => away = false,
            Err(error) if !std::mem::replace(&mut away, true) => {
                tracing::warn!("ordered deliveries are not placed: {error}");
            }
            Err(_) => {}
        }
    }
    // Another one goes on at once.
    context.store.acquire_lease("ordered", &holder, Duration::ZERO).await.ok();
}

/// Places as long as there is anything to place and this dispatcher is the one who does.
async fn place(context: &Arc<Context>, holder: &str) -> Result<(), StoreError> {
    if !context.store.any_ordered().await? || !is_mine(context, holder).await? {
        return Ok(());
    }
    let mut placer = Placer::begin(context).await?;
    let mut renewed = Instant::now();
    while placer.go_on().await? {
        if renewed.elapsed() >= LEASE / 3 {
            if !is_mine(context, holder).await? || !context.store.any_ordered().await? {
                return Ok(());
            }
            renewed = Instant::now();
        }
    }
    Ok(())
}

async fn is_mine(context: &Context, holder: &str) -> Result<bool, StoreError> {
    context.store.acquire_lease("ordered", holder, LEASE).await
}

struct Placer<'a> {
    context: &'a Arc<Context>,
    reader: HistoryReader,
    /// As it stands in the store.
    cursor: Option<OrderedCursor>,
    /// The last entry that was read.
    last: Option<EventKey>,
    /// Whether deliveries are made that are not there yet: not for what was read before, or was
    /// published before anything was ordered.
    makes: bool,
    place: i64,
    noted: Instant,
}

impl<'a> Placer<'a> {
    async fn begin(context: &'a Arc<Context>) -> Result<Self, StoreError> {
        let cursor = context.store.ordered_cursor().await?;
        let since = cursor.as_ref().map_or_else(|| context.clock.now(), |cursor| cursor.at);
        Ok(Self {
            context,
            reader: context.broker.history(Some(since - BEFORE)),
            last: cursor.as_ref().and_then(|cursor| cursor.entry),
            place: cursor.as_ref().map_or(0, |cursor| cursor.place),
            cursor,
            makes: false,
            noted: Instant::now(),
        })
    }

    /// Reads and places some; false when this dispatcher is not the one who places any more.
    async fn go_on(&mut self) -> Result<bool, StoreError> {
        let Some(entries) = self.read().await else { return Ok(false) };
        let mut placed = Vec::new();
        for entry in entries {
            let HistoryEntry::Event(event) = entry else {
                // From here on deliveries are made; what was read before is placed as it was.
                if !self.makes && !self.write(&mut placed).await? {
                    return Ok(false);
                }
                self.makes = true;
                continue;
            };
            placed.append(&mut self.deliveries(&event).await);
            self.last = Some(event.key());
            if !self.makes && self.cursor_entry() == self.last {
                if !self.write(&mut placed).await? {
                    return Ok(false);
                }
                self.makes = true;
            }
        }
        if !placed.is_empty() {
            return self.write(&mut placed).await;
        }
        if self.noted.elapsed() >= NOTED_EVERY && self.cursor_entry() != self.last {
            return self.write(&mut placed).await;
        }
        Ok(true)
    }

    fn cursor_entry(&self) -> Option<EventKey> {
        self.cursor.as_ref().and_then(|cursor| cursor.entry)
    }

    /// The next entries; `None` once the broker was closed.
    async fn read(&mut self) -> Option<Vec<HistoryEntry>> {
        let Ok(first) = tokio::time::timeout(LOOK, self.reader.next()).await else {
            return Some(Vec::new());
        };
        let mut entries = vec![first?];
        let until = Instant::now() + LINGER;
        while entries.len() < TOGETHER {
            match tokio::time::timeout_at(until, self.reader.next()).await {
                Ok(next) => entries.push(next?),
                Err(_) => break,
            }
        }
        Some(entries)
    }

    /// The ordered deliveries of `event`, with their places.
    async fn deliveries(&mut self, event: &Event) -> Vec<PlacedDelivery> {
        let wanting = patiently(self.context, || self.context.subscribers.wanting(event)).await;
        let ordered = wanting.into_iter().flatten().filter(|subscriber| subscriber.ordered);
        let mut placed = Vec::new();
        for subscriber in ordered {
            let webhook = subscriber.endpoint.webhook;
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
            self.place = i64::try_from(now).unwrap_or(i64::MAX).max(self.place + 1);
            placed.push(PlacedDelivery {
                id: DeliveryId::derive(&event.user, &event.id, webhook, ""),
                webhook,
                partition: partition_of(event.project.as_ref()),
                event: event.clone(),
                place: self.place,
            });
        }
        placed
    }

    async fn write(&mut self, placed: &mut Vec<PlacedDelivery>) -> Result<bool, StoreError> {
        let to =
            OrderedCursor { entry: self.last, at: OffsetDateTime::now_utc(), place: self.place };
        let tenure = self.context.backlogs.reporter().holder();
        let from = self.cursor.as_ref();
        let store = &self.context.store;
        let written = store.place_ordered(placed, self.makes, from, &to, tenure.as_deref()).await?;
        let Some(begun) = written else { return Ok(false) };
        self.context.backlogs.reporter().placed(placed, &begun, tenure.as_ref());
        placed.clear();
        (self.cursor, self.noted) = (Some(to), Instant::now());
        Ok(true)
    }
}
