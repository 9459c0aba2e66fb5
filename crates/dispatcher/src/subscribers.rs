//! Which webhooks a user has: remembered for each user, forgotten when a change is announced.
//! The cost of an event does not grow with the number of webhooks in the system.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use broker::{BacklogNews, ControlMessage, ControlSignal};
use delivery::Endpoint;
use domain::{Event, Subscription, Subscriptions, UserId, Webhook, WebhookId};
use moka::Expiry;
use moka::future::Cache;
use store::{BacklogKey, Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::backlog;
use crate::gate::Gate;
use crate::slots::Slots;
use crate::{Context, DispatcherConfig};

/// A webhook made ready for matching and attempts.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) endpoint: Endpoint,
    pub(crate) gate: Arc<Gate>,
    /// Whether the deliveries of a project go one after the other.
    pub(crate) ordered: bool,
}

/// The active webhooks of one user, made ready.
struct Ready {
    subscribers: Box<[Arc<Subscriber>]>,
    /// What each of them wants, in the same order.
    subscriptions: Subscriptions,
}

type Subscribed = Arc<Ready>;

impl Ready {
    fn wanting(&self, event: &Event) -> Vec<Arc<Subscriber>> {
        self.subscriptions.wanting(event).map(|place| self.subscribers[place].clone()).collect()
    }
}

/// How long "this user has no webhook" is believed: the safety net for a webhook whose
/// announcement was lost.
const NONE_AGE: Duration = Duration::from_secs(1);

/// Users whose webhooks are read from the store at a time. The others wait for as long as a read
/// may take: mostly they are of a crowd of retries of one user, who find what the first has read,
/// and do not take a connection to the database each.
const READING: usize = 4;

/// Events that filters are asked of at a time where that takes milliseconds: what a user writes
/// into filters and events costs others a part of one processor at most.
const FILTERING: usize = 1;

/// What is remembered of all users.
pub(crate) struct Subscribers {
    store: Store,
    slots: Arc<Slots>,
    cache: Cache<UserId, Subscribed>,
    reading: Semaphore,
    filtering: Semaphore,
    /// Grows with every announced change, so that what was read before one is not remembered
    /// after it.
    changes: AtomicU64,
}

struct Ages {
    known: Duration,
}

impl Expiry<UserId, Subscribed> for Ages {
    fn expire_after_create(&self, _: &UserId, found: &Subscribed, _: Instant) -> Option<Duration> {
        Some(if found.subscribers.is_empty() { NONE_AGE.min(self.known) } else { self.known })
    }
}

impl Subscribers {
    pub(crate) fn new(store: Store, slots: Arc<Slots>, config: &DispatcherConfig) -> Self {
        let cache = Cache::builder()
            .max_capacity(config.cache_users)
            .expire_after(Ages { known: config.cache_age })
            .build();
        let (reading, filtering) = (Semaphore::new(READING), Semaphore::new(FILTERING));
        Self { store, slots, cache, reading, filtering, changes: AtomicU64::new(0) }
    }

    /// The webhooks that want `event`, where that is known at once: the user's are remembered, and
    /// their filters are quick.
    pub(crate) async fn wanting_at_once(&self, event: &Event) -> Option<Vec<Arc<Subscriber>>> {
        let all = self.cache.get(&event.user).await?;
        (!all.subscriptions.take_long(event)).then(|| all.wanting(event))
    }

    /// The webhooks that want `event`, however long it takes to find out.
    ///
    /// # Errors
    /// When the user's webhooks are not remembered and the store is away.
    pub(crate) async fn wanting(&self, event: &Event) -> Result<Vec<Arc<Subscriber>>, StoreError> {
        let all = self.of(&event.user).await?;
        if !all.subscriptions.take_long(event) {
            return Ok(all.wanting(event));
        }
        let _turn = self.filtering.acquire().await.expect("it is never closed");
        let event = event.clone();
        // On a thread of its own: on this one the attempts of everybody else are made.
        let found = tokio::task::spawn_blocking(move || all.wanting(&event)).await;
        found.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => StoreError::Unavailable("the dispatcher is stopping".to_owned()),
        })
    }

    /// The webhook `id` of `user`, if it is active.
    ///
    /// # Errors
    /// When the user's webhooks are not remembered and the store is away.
    pub(crate) async fn find(
        &self,
        user: &UserId,
        id: WebhookId,
    ) -> Result<Option<Arc<Subscriber>>, StoreError> {
        let all = self.of(user).await?;
        Ok(all.subscribers.iter().find(|known| known.endpoint.webhook == id).cloned())
    }

    async fn of(&self, user: &UserId) -> Result<Subscribed, StoreError> {
        if let Some(known) = self.cache.get(user).await {
            return Ok(known);
        }
        let turn = tokio::time::timeout(store::LONGEST_WAIT, self.reading.acquire()).await;
        let turn = turn.map_err(|_| StoreError::Unavailable("it is slow".to_owned()))?;
        let _turn = turn.expect("it is never closed");
        if let Some(known) = self.cache.get(user).await {
            return Ok(known);
        }
        let before = self.changes.load(Ordering::Acquire);
        let found = self.ready(&self.store.active_webhooks(user).await?);
        if self.changes.load(Ordering::Acquire) == before {
            self.cache.insert(user.clone(), found.clone()).await;
            // Announced between the check and the insertion: what was inserted may be old.
            if self.changes.load(Ordering::Acquire) != before {
                self.cache.invalidate(user).await;
            }
        }
        Ok(found)
    }

    fn ready(&self, webhooks: &[Webhook]) -> Subscribed {
        let now = OffsetDateTime::now_utc();
        let usable = webhooks.iter().filter_map(|webhook| self.subscriber(webhook, now));
        let (subscribers, subscriptions): (Vec<_>, Vec<_>) = usable.unzip();
        let subscribers = subscribers.into_iter().map(Arc::new).collect();
        Arc::new(Ready { subscribers, subscriptions: Subscriptions::new(subscriptions) })
    }

    /// `None` for a webhook that another version stored and this one cannot read: it must not
    /// keep the user's others from being told.
    fn subscriber(
        &self,
        webhook: &Webhook,
        now: OffsetDateTime,
    ) -> Option<(Subscriber, Subscription)> {
        let endpoint = Endpoint::new(webhook, now)
            .inspect_err(|error| tracing::error!(webhook.id = %webhook.id, "left out: {error}"));
        let subscription = webhook
            .subscription()
            .inspect_err(|error| tracing::error!(webhook.id = %webhook.id, "left out: {error}"));
        let (endpoint, subscription) = (endpoint.ok()?, subscription.ok()?);
        let gate = self.slots.gate(webhook.id, &webhook.user, endpoint.authority());
        gate.set_pace(webhook.rate_limit);
        Some((Subscriber { endpoint, gate, ordered: webhook.ordered }, subscription))
    }

    async fn forget(&self, user: &UserId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.cache.invalidate(user).await;
    }

    fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.cache.invalidate_all();
    }
}

/// Forgets what is announced to have changed, and everything when announcements may have been
/// missed.
pub(crate) async fn follow_changes(context: Arc<Context>) {
    let mut control = context.broker.control();
    loop {
        let signal = tokio::select! {
            () = context.stop.cancelled() => return,
            signal = control.next() => signal,
        };
        match signal {
            None => return,
            Some(ControlSignal::Gap) => context.subscribers.forget_all(),
            Some(ControlSignal::Message(ControlMessage::WebhookChanged { user_id, .. })) => {
                context.webhooks_changed.notify_one();
                match user_id.parse() {
                    Ok(user) => context.subscribers.forget(&user).await,
                    Err(_) => context.subscribers.forget_all(),
                }
            }
            Some(ControlSignal::Message(ControlMessage::Backlogs { changes })) => {
                for BacklogNews { webhook_id, partition, change } in changes {
                    if let Ok(webhook) = webhook_id.parse() {
                        backlog::heard(&context, BacklogKey { webhook, partition }, change);
                    }
                }
            }
            Some(ControlSignal::Message(ControlMessage::BacklogsReleased)) => {
                context.backlogs.claim_soon();
            }
            // Who was signed out concerns tokens.
            Some(ControlSignal::Message(_)) => {}
        }
    }
}
