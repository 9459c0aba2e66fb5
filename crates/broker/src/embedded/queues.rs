//! What is ready to be taken, in memory and bounded: what does not fit stays in the file until
//! there is room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::Event;
use tokio::sync::{Notify, broadcast};

use crate::{Acker, ContentType, Incoming, Queue};

/// Messages of one queue in memory, at most.
const MOST: usize = 8_192;

/// Their bodies in memory, bytes at most.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Below this many the file is read again.
const FEW: usize = MOST / 4;

/// Live entries of the history that a slow reader may lag behind before it reads the file.
const LIVE: usize = 1_024;

/// A message that can be taken.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) id: i64,
    pub(super) content_type: ContentType,
    pub(super) message_id: Option<String>,
    pub(super) routing_key: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) redelivered: bool,
    pub(super) returns: u32,
}

/// An entry of the history, as it is committed.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) seq: i64,
    pub(super) event: Event,
}

/// The queues that can be consumed.
pub(super) struct Queues {
    queues: HashMap<Queue, Arc<ReadyQueue>>,
    live: broadcast::Sender<Live>,
    trouble: Mutex<Option<String>>,
}

/// One queue.
pub(super) struct ReadyQueue {
    pub(super) name: Queue,
    /// Up to this id, messages are an earlier process's.
    pub(super) left_over: i64,
    state: Mutex<State>,
    /// Something may be taken.
    pub(super) arrived: Notify,
}

struct State {
    ready: VecDeque<Ready>,
    bytes: usize,
    /// Up to this id everything is in memory, under way, or done.
    loaded: i64,
    /// Whether the file holds more than `loaded`.
    more: bool,
}

impl Queues {
    pub(super) fn new(left_over: HashMap<String, i64>) -> Self {
        let queue = |name: Queue| {
            let left_over = left_over.get(&name.to_string()).copied().unwrap_or(0);
            let state = State { ready: VecDeque::new(), bytes: 0, loaded: 0, more: left_over > 0 };
            let queue =
                ReadyQueue { name, left_over, state: Mutex::new(state), arrived: Notify::new() };
            (name, Arc::new(queue))
        };
        Self {
            queues: [Queue::Dispatch, Queue::Deliver, Queue::Rejected].map(queue).into(),
            live: broadcast::channel(LIVE).0,
            trouble: Mutex::new(None),
        }
    }

    /// The queue `name`. Delay queues have no consumers: what is due goes to studio.deliver.
    pub(super) fn of(&self, name: Queue) -> Arc<ReadyQueue> {
        self.queues.get(&name).unwrap_or(&self.queues[&Queue::Deliver]).clone()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReadyQueue>> {
        self.queues.values()
    }

    pub(super) fn live(&self) -> broadcast::Receiver<Live> {
        self.live.subscribe()
    }

    /// Tells the readers of the history; without any it costs nothing.
    pub(super) fn tell_live(&self, live: Live) {
        self.live.send(live).ok();
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Keeps what is wrong, and says it once.
    pub(super) fn note(&self, trouble: Option<String>) {
        let mut known = lock(&self.trouble);
        match (&*known, &trouble) {
            (None, Some(reason)) => tracing::error!("the queues cannot be written: {reason}"),
            (Some(_), None) => tracing::info!("the queues can be written again"),
            _ => {}
        }
        *known = trouble;
    }
}

/// No panic can leave these values half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReadyQueue {
    /// Takes the oldest.
    pub(super) fn take(&self) -> Option<Ready> {
        let mut state = lock(&self.state);
        let ready = state.ready.pop_front()?;
        state.bytes -= ready.body.len();
        if !state.ready.is_empty() {
            self.arrived.notify_one();
        }
        Some(ready)
    }

    /// Brings back what was taken and not finished.
    pub(super) fn put_back(&self, mut ready: Ready) {
        ready.redelivered = true;
        ready.returns = ready.returns.saturating_add(1);
        let mut state = lock(&self.state);
        state.bytes += ready.body.len();
        state.ready.push_front(ready);
        drop(state);
        self.arrived.notify_one();
    }

    /// Takes in a message that was just committed, if there is room and nothing before it waits
    /// in the file.
    pub(super) fn arrive(&self, ready: Ready) {
        let mut state = lock(&self.state);
        if state.more || !state.has_room() {
            state.more = true;
            return;
        }
        state.loaded = ready.id;
        state.bytes += ready.body.len();
        state.ready.push_back(ready);
        drop(state);
        self.arrived.notify_one();
    }

    /// Takes in a message that came due; its id lies before others.
    pub(super) fn come_due(&self, ready: Ready) {
        let mut state = lock(&self.state);
        state.bytes += ready.body.len();
        state.ready.push_back(ready);
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn has_room(&self) -> bool {
        lock(&self.state).has_room()
    }

    /// The id after which the file is to be read, if it is time to.
    pub(super) fn wants_more(&self) -> Option<i64> {
        let state = lock(&self.state);
        (state.more && state.ready.len() < FEW && state.bytes < MOST_BYTES).then_some(state.loaded)
    }

    /// Takes in what was read from the file; `more` when it holds more.
    pub(super) fn load(&self, messages: Vec<Ready>, more: bool) {
        let mut state = lock(&self.state);
        for ready in messages {
            state.loaded = state.loaded.max(ready.id);
            state.bytes += ready.body.len();
            state.ready.push_back(ready);
        }
        state.more = more;
        drop(state);
        self.arrived.notify_one();
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.ready.len() < MOST && self.bytes < MOST_BYTES
    }
}

impl Ready {
    /// The message for its taker.
    pub(super) fn incoming(self, acker: Acker) -> Incoming {
        Incoming {
            content_type: self.content_type,
            message_id: self.message_id,
            timestamp: None,
            routing_key: self.routing_key,
            headers: self.headers,
            body: self.body,
            redelivered: self.redelivered,
            returns: self.returns,
            acker,
        }
    }
}
