//! One reader of the history for the process. Each event is read and encoded once, kept for
//! those who come back, and handed to the workers that its user is connected to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use broker::{ControlMessage, ControlSignal, HistoryEntry, HistoryReader, SharedBroker};
use domain::Event;
use futures::FutureExt;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::config::GatewayConfig;
use crate::entry::Entry;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::protocol::Goodbye;
use crate::recent::Recent;
use crate::ring::Ring;
use crate::signed_out::SignedOut;
use crate::worker::Order;

/// Orders that wait for one worker; the reader waits for the slowest.
const ORDERS: usize = 64;

/// Events that are handed over together.
const BATCH: usize = 64;

/// How often the ring is looked through for what is too old.
const EXPIRE: Duration = Duration::from_secs(10);

/// What the process shares.
pub(crate) struct Hub {
    pub(crate) presence: Arc<Presence>,
    pub(crate) metrics: Metrics,
    ring: Mutex<Ring>,
    signed_out: RwLock<SignedOut>,
    workers: RwLock<Vec<mpsc::Sender<Order>>>,
    /// The history has been caught up with and is followed.
    following: AtomicBool,
    draining: AtomicBool,
}

impl Hub {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            presence: Arc::default(),
            metrics: Metrics::new(),
            ring: Mutex::new(Ring::new(config.bounds())),
            signed_out: RwLock::default(),
            workers: RwLock::default(),
            following: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// Whether it takes no new connections, because it stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether events flow: before, a client would miss some and not be told.
    pub(crate) fn is_following(&self) -> bool {
        self.following.load(Ordering::Acquire)
    }

    /// The last events.
    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing in there can panic halfway.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who was signed out.
    pub(crate) fn signed_out(&self) -> RwLockReadGuard<'_, SignedOut> {
        self.signed_out.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a sign-out, then closes the connections that it is about. In this order: one
    /// that comes in between finds it noted, or is there to be closed.
    async fn sign_out(&self, user: String, token_id: Option<String>) {
        self.signed_out.write().unwrap_or_else(PoisonError::into_inner).note(
            user.clone(),
            token_id.clone(),
            OffsetDateTime::now_utc(),
        );
        self.order(|| Order::SignOut { user: user.clone(), token_id: token_id.clone() }).await;
    }

    /// A number for a new worker, and the orders that it gets.
    pub(crate) fn hire(&self) -> (usize, mpsc::Receiver<Order>) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        workers.push(sender);
        (workers.len() - 1, orders)
    }

    fn workers(&self) -> Vec<mpsc::Sender<Order>> {
        self.workers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives every worker an order. A worker that is gone has no connections.
    async fn order(&self, make: impl Fn() -> Order) {
        for worker in self.workers() {
            worker.send(make()).await.ok();
        }
    }

    /// Sends every connection away in even slices over `within`.
    pub(crate) async fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::Release);
        let mut left = Vec::new();
        for worker in self.workers() {
            let (done, wait) = oneshot::channel();
            if worker.send(Order::Drain { within, done }).await.is_ok() {
                left.push(wait);
            }
        }
        for wait in left {
            // A worker that ends has no connections left either.
            wait.await.ok();
        }
    }

    /// Keeps the events, and hands them to the workers of their users.
    async fn tell(&self, events: Vec<Arc<Entry>>) {
        let mut batches: Vec<Vec<Arc<Entry>>> = Vec::new();
        for entry in events {
            // First kept, then looked who is there: a client is registered before it reads what
            // is kept, so that it finds the event there or is told.
            self.ring().push(entry.clone(), Instant::now());
            self.presence.workers_of(&entry.user, |number| {
                if batches.len() <= number {
                    batches.resize_with(number + 1, Vec::new);
                }
                batches[number].push(entry.clone());
            });
        }
        for (worker, batch) in self.workers().iter().zip(batches) {
            if !batch.is_empty() {
                worker.send(Order::Tell(batch)).await.ok();
            }
        }
    }

    fn expire(&self) {
        let mut ring = self.ring();
        ring.expire(Instant::now());
        let (events, bytes) = ring.size();
        drop(ring);
        self.metrics.kept(events, bytes);
    }
}

/// Follows the history, from as far back as clients may resume.
pub(crate) async fn follow_history(hub: Arc<Hub>, broker: SharedBroker, age: Duration) {
    let mut history = broker.history(Some(OffsetDateTime::now_utc() - age));
    let mut reading = Reading { recent: Recent::default(), last: 0 };
    let mut expire = tokio::time::interval(EXPIRE);
    loop {
        let next = tokio::select! {
            next = history.next() => next,
            _ = expire.tick() => {
                hub.expire();
                continue;
            }
        };
        let Some(first) = next else { break };
        let (batch, caught_up) = reading.gather(first, &mut history);
        hub.metrics.read(batch.len());
        hub.tell(batch).await;
        if caught_up {
            hub.following.store(true, Ordering::Release);
            tracing::info!("the gateway follows the history");
        }
    }
    // The broker was closed. Whoever is still there would wait for ever.
    hub.following.store(false, Ordering::Release);
    hub.order(|| Order::Close(Goodbye::SERVER)).await;
}

/// How far the history has been read.
struct Reading {
    recent: Recent,
    last: u64,
}

impl Reading {
    /// `first` and what else is there already, without copies; whether the history was caught up
    /// with.
    fn gather(
        &mut self,
        first: HistoryEntry,
        history: &mut HistoryReader,
    ) -> (Vec<Arc<Entry>>, bool) {
        let (mut batch, mut caught_up, mut next) = (Vec::new(), false, Some(first));
        while let Some(entry) = next {
            match entry {
                HistoryEntry::CaughtUp => caught_up = true,
                HistoryEntry::Event(event) => batch.extend(self.encode(&event)),
            }
            let room = batch.len() < BATCH;
            next = if room { history.next().now_or_never().flatten() } else { None };
        }
        (batch, caught_up)
    }

    fn encode(&mut self, event: &Event) -> Option<Arc<Entry>> {
        if !self.recent.is_new(event) {
            return None;
        }
        self.last += 1;
        Some(Arc::new(Entry::new(self.last, event)))
    }
}

/// Closes the connections of users who are signed out.
pub(crate) async fn follow_control(hub: Arc<Hub>, broker: SharedBroker) {
    let mut control = broker.control();
    while let Some(signal) = control.next().await {
        if let ControlSignal::Message(ControlMessage::SignedOut { user_id, token_id }) = signal {
            hub.sign_out(user_id, token_id).await;
        }
    }
}
