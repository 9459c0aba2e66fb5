//! Who is connected, and handing events to them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker::{ControlMessage, ControlSignal, HistoryEntry, SharedBroker};
use bytestring::ByteString;
use dashmap::DashMap;
use domain::{Event, UserId};
use rand::RngExt;
use serde_json::json;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::protocol::close;
use crate::subscriptions::Subscriptions;

/// Messages that may wait for one connection, beside the limit in bytes.
const QUEUE: usize = 1_024;

/// Every connection of the process.
pub(crate) struct Hub {
    users: DashMap<UserId, Vec<Arc<Connection>>>,
    draining: AtomicBool,
    pub(crate) metrics: Metrics,
}

/// One connection, as the hub sees it.
pub(crate) struct Connection {
    id: u64,
    token_id: Option<String>,
    subscriptions: Mutex<Subscriptions>,
    queue: mpsc::Sender<ByteString>,
    queued: AtomicUsize,
    most_bytes: usize,
    /// Told to close; set once.
    closing: AtomicBool,
    pub(crate) closed: tokio::sync::Notify,
    pub(crate) close_code: Mutex<Option<(u16, &'static str)>>,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        token_id: Option<String>,
        most_bytes: usize,
    ) -> (Arc<Self>, mpsc::Receiver<ByteString>) {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let connection = Self {
            id,
            token_id,
            subscriptions: Mutex::default(),
            queue,
            queued: AtomicUsize::new(0),
            most_bytes,
            closing: AtomicBool::new(false),
            closed: tokio::sync::Notify::new(),
            close_code: Mutex::new(None),
        };
        (Arc::new(connection), outgoing)
    }

    /// What it subscribed to.
    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        // No panic can leave the set half-changed.
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `text`; a connection whose queue is full is closed and resumes later.
    pub(crate) fn send(&self, text: ByteString) {
        let size = text.len();
        let waiting = self.queued.fetch_add(size, Ordering::AcqRel) + size;
        if waiting > self.most_bytes || self.queue.try_send(text).is_err() {
            self.close(close::TOO_SLOW, "too slow");
        }
    }

    /// `size` bytes have left the queue.
    pub(crate) fn sent(&self, size: usize) {
        self.queued.fetch_sub(size, Ordering::AcqRel);
    }

    /// Asks the session to close; the first reason counts.
    pub(crate) fn close(&self, code: u16, reason: &'static str) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            let mut known = self.close_code.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some((code, reason));
            self.closed.notify_one();
        }
    }
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self { users: DashMap::new(), draining: AtomicBool::new(false), metrics: Metrics::new() }
    }

    /// Whether new connections are taken.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes in a connection of `user`; false when there are `most` already.
    pub(crate) fn enter(&self, user: &UserId, connection: Arc<Connection>, most: usize) -> bool {
        let mut connections = self.users.entry(user.clone()).or_default();
        if connections.len() >= most {
            return false;
        }
        connections.push(connection);
        self.metrics.opened();
        true
    }

    /// Forgets a connection.
    pub(crate) fn leave(&self, user: &UserId, connection: &Connection) {
        if let Some(mut connections) = self.users.get_mut(user) {
            let before = connections.len();
            connections.retain(|known| known.id != connection.id);
            if connections.len() < before {
                self.metrics.left();
            }
        }
        self.users.remove_if(user, |_, connections| connections.is_empty());
    }

    /// Hands `event` to those of its user who subscribed: one text, shared by all.
    fn tell(&self, event: &Event) {
        let Some(connections) = self.users.get(&event.user) else {
            return;
        };
        let mut text = None;
        let mut told = 0;
        for connection in connections.iter() {
            if !connection.subscriptions().want(event) {
                continue;
            }
            let text = text.get_or_insert_with(|| {
                ByteString::try_from(event.payload.clone()).unwrap_or_default()
            });
            connection.send(text.clone());
            told += 1;
        }
        self.metrics.sent(told);
    }

    fn sign_out(&self, user: &str, token_id: Option<&str>) {
        let Some(connections) = self.users.get(user) else {
            return;
        };
        for connection in connections.iter() {
            if token_id.is_none() || connection.token_id.as_deref() == token_id {
                connection.close(close::SIGNED_OUT, "signed out");
            }
        }
    }

    /// Tells each client when to come back and closes them in even slices over `within`.
    pub(crate) async fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::Release);
        let all: Vec<Arc<Connection>> =
            self.users.iter().flat_map(|entry| entry.value().clone()).collect();
        if all.is_empty() {
            return;
        }
        let slice = within / u32::try_from(all.len()).unwrap_or(u32::MAX).saturating_add(1);
        let most = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
        for connection in all {
            let after_ms = rand::rng().random_range(0..most);
            let hint = json!({ "type": "reconnect", "after_ms": after_ms }).to_string();
            connection.send(hint.into());
            connection.close(close::GOING_AWAY, "the server restarts");
            tokio::time::sleep(slice.min(Duration::from_millis(50))).await;
        }
    }
}

/// Hands every event of the history to whoever subscribed.
pub(crate) async fn follow_history(hub: Arc<Hub>, broker: SharedBroker) {
    let mut history = broker.history(None);
    let mut last = Recent::default();
    while let Some(entry) = history.next().await {
        // The history is at least once.
        if let HistoryEntry::Event(event) = entry
            && last.is_new(&event)
        {
            hub.tell(&event);
        }
    }
}

/// The last events, to drop copies.
#[derive(Default)]
struct Recent {
    young: std::collections::HashSet<domain::EventKey>,
    old: std::collections::HashSet<domain::EventKey>,
}

impl Recent {
    const GENERATION: usize = 50_000;

    fn is_new(&mut self, event: &Event) -> bool {
        let key = event.key();
        if self.old.contains(&key) || !self.young.insert(key) {
            return false;
        }
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        true
    }
}

/// Closes the connections of users who are signed out.
pub(crate) async fn follow_control(hub: Arc<Hub>, broker: SharedBroker) {
    let mut control = broker.control();
    while let Some(signal) = control.next().await {
        if let ControlSignal::Message(ControlMessage::SignedOut { user_id, token_id }) = signal {
            hub.sign_out(&user_id, token_id.as_deref());
        }
    }
}
