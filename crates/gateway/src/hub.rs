//! One reader of the history for the process. Each event is read and encoded once, kept for
//! those who come back, and handed to the workers that its user is connected to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use broker::{HistoryEntry, HistoryReader, SharedBroker};
use domain::{Event, EventId, UserId};
use futures::FutureExt;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::config::GatewayConfig;
use crate::entry::Entry;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::protocol::Goodbye;
use crate::recent::Recent;
use crate::returns::Returns;
use crate::ring::{Left, Past, Ring};
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
    pub(crate) returns: Returns,
    ring: Mutex<Ring>,
    workers: RwLock<Vec<mpsc::Sender<Order>>>,
    /// The history has been caught up with and is followed.
    following: AtomicBool,
    draining: AtomicBool,
    /// Bytes that wait for clients, by worker, as each told last.
    queued: RwLock<Vec<AtomicUsize>>,
}

impl Hub {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            presence: Arc::default(),
            metrics: Metrics::new(),
            returns: Returns::default(),
            ring: Mutex::new(Ring::new(config.bounds())),
            workers: RwLock::default(),
            following: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            queued: RwLock::default(),
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

    /// The events of `user` that are known, where `wanted`; the place of the newest event of
    /// all; and the newest one of `user`. All three of the same moment.
    pub(crate) fn past(&self, user: &UserId, wanted: bool) -> (Option<Past>, u64, Option<EventId>) {
        let ring = self.ring();
        (wanted.then(|| ring.past(user)), ring.top(), ring.last(user).cloned())
    }

    /// The last events. Everybody waits for it: nothing is looked through while it is held.
    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing in there can panic halfway.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections of `user` whose tokens were signed out, which is noted before: one
    /// that comes in between finds it noted, or is there to be closed.
    pub(crate) async fn sign_out(&self, user: UserId) {
        self.order(|| Order::SignOut(user.clone())).await;
    }

    /// A number for a new worker, and the orders that it gets.
    pub(crate) fn hire(&self) -> (usize, mpsc::Receiver<Order>) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        workers.push(sender);
        self.queued.write().unwrap_or_else(PoisonError::into_inner).push(AtomicUsize::new(0));
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

    /// Notes how many bytes wait at a worker.
    pub(crate) fn note_queued(&self, worker: usize, bytes: usize) {
        self.metrics.waiting(worker, bytes);
        let queued = self.queued.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = queued.get(worker) {
            known.store(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes that wait for clients, as of the last tick.
    pub(crate) fn queued_bytes(&self) -> usize {
        let queued = self.queued.read().unwrap_or_else(PoisonError::into_inner);
        queued.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Keeps the events, and hands them to the workers of their users.
    async fn tell(&self, events: Vec<Arc<Entry>>) {
        let mut batches: Vec<Vec<Arc<Entry>>> = Vec::new();
        for entry in events {
            // First kept, then looked who is there: a client is registered before it reads what
            // is kept, so that it finds the event there or is told.
            self.keep(entry.clone());
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

    fn keep(&self, entry: Arc<Entry>) {
        let now = Instant::now();
        let left = self.ring().push(entry, now);
        self.forget(left, now);
    }

    /// Forgets the rest of what is too old or too much. The ring is let go between the steps.
    fn forget(&self, mut left: Left, now: Instant) {
        while left.more {
            drop(left);
            left = self.ring().expire(now);
        }
    }

    fn expire(&self) {
        let now = Instant::now();
        let left = self.ring().expire(now);
        self.forget(left, now);
        let (events, bytes) = self.ring().size();
        self.metrics.kept(events, bytes);
        self.returns.forget_rested(now);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume::{self, Return};
    use crate::subscriptions::{Subscriptions, Topic};
    use domain::{EventSet, Origin};

    /// A hub at the default settings that keeps as many events of one user as it may.
    fn full_hub(config: &GatewayConfig) -> (Hub, Event) {
        let text = r#"{"id":"e","event":"scrape.started","timestamp":"2026-02-02T12:00:00Z","user_id":"u","data":{"project_id":"p"}}"#;
        let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
        let hub = Hub::new(config);
        for seq in 1..=config.resume_events as u64 {
            hub.keep(numbered(&event, seq));
        }
        assert_eq!(hub.ring().size().0, config.resume_events);
        (hub, event)
    }

    fn numbered(event: &Event, seq: u64) -> Arc<Entry> {
        let mut event = event.clone();
        event.id = format!("e{seq}").parse().unwrap();
        Arc::new(Entry::new(seq, &event))
    }

    /// A resume that looks at everything and finds nothing.
    fn resume(hub: &Hub, config: &GatewayConfig) {
        let (user, since) = ("u".parse().unwrap(), "e50".parse().unwrap());
        let topics = [Topic::parse("elsewhere").unwrap()];
        let before = Subscriptions::default();
        let events = EventSet::parse(["*"]).unwrap();
        let (past, top, _) = hub.past(&user, true);
        let back = Return { before: &before, topics: &topics, events, since: &since };
        drop(resume::missed(&past.unwrap(), &back, top, config.room(0)));
    }

    #[test]
    fn resumes_without_a_pause_hold_up_no_event() {
        let config = GatewayConfig::default();
        let (hub, event) = full_hub(&config);
        let (done, begun) = (AtomicBool::new(false), std::sync::Barrier::new(9));
        let mut waits: Vec<Duration> = std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    resume(&hub, &config);
                    begun.wait();
                    while !done.load(Ordering::Acquire) {
                        resume(&hub, &config);
                    }
                });
            }
            begun.wait();
            let first = config.resume_events as u64 + 1;
            let wait = |seq| {
                let entry = numbered(&event, seq);
                let began = Instant::now();
                hub.keep(entry);
                let waited = began.elapsed();
                // Whoever waits for the ring may have it now.
                std::thread::sleep(Duration::from_millis(1));
                waited
            };
            let waits = (first..first + 300).map(wait).collect();
            done.store(true, Ordering::Release);
            waits
        });
        waits.sort_unstable();
        // Not the longest: a busy machine takes the processor away for longer.
        let median = waits[waits.len() / 2];
        assert!(median < Duration::from_millis(1), "{median:?}");
    }
}
