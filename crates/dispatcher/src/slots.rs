//! How much may be under way, in all and for each user and host. Two lanes have slots of their own,
//! so that first attempts never wait behind retries. An attempt that takes long leaves its slot to
//! others and is counted among the slow ones, and so is, from its beginning, one to an endpoint that
//! is slow. Endpoints that did not answer, and those that nothing is known of yet, have places of
//! their own: no crowd of silent endpoints can take the room of those that answer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use domain::{UserId, WebhookId};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};

use crate::DispatcherConfig;
use crate::company::{Company, HeldBack};
use crate::files::Files;
use crate::gate::Gate;
use crate::room::{Held, Part, Room};

/// How much of what is free a user may hold of what is given back within milliseconds, of what is
/// held for seconds, and of what may be held until it times out: there a crowd that comes one after
/// the other must not leave nothing.
const OF_QUICK: Part = Part::Times(4);
const OF_SLOW: Part = Part::OneOf(4);
const OF_SILENT: Part = Part::OneOf(32);

/// Which slots an attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// First attempts.
    First,
    /// Retries, redeliveries, and what comes from a backlog.
    Later,
}

/// What all requests of a dispatcher share.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Slots of first attempts.
    pub(crate) first: Room,
    /// Slots of the others.
    pub(crate) later: Room,
    /// Places of requests to endpoints that answer slowly,
    pub(crate) slow: Room,
    /// to those that nothing is known of yet,
    pub(crate) fresh: Room,
    /// and to those that did not answer.
    pub(crate) silent: Room,
    /// Places of messages whose turn comes in a moment.
    pub(crate) waiting: Room,
    /// Told when fewer wait.
    pub(crate) less_waits: Notify,
    pub(crate) company: Company,
    /// For how long the intake has waited for anybody's endpoints.
    pub(crate) held_back: HeldBack,
    pub(crate) files: Arc<Files>,
    /// Requests to one webhook under way, at most.
    pub(crate) per_webhook: usize,
    pub(crate) circuit_failures: u32,
    pub(crate) circuit_pause: Duration,
}

/// What one user holds of each room.
#[derive(Debug, Default)]
pub(crate) struct User {
    pub(crate) first: Held,
    pub(crate) later: Held,
    pub(crate) slow: Held,
    pub(crate) fresh: Held,
    pub(crate) silent: Held,
    pub(crate) waiting: Held,
    /// For how long others have waited for this user's endpoints.
    pub(crate) held_back: HeldBack,
}

/// Requests to one host, whichever webhooks they are for.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) room: Room,
    /// What each user holds of it, by the address of the user's own counts.
    users: DashMap<usize, Weak<Held>>,
}

impl Host {
    fn new(size: usize) -> Self {
        Self { room: Room::new(size, OF_QUICK), users: DashMap::new() }
    }

    /// What `user` holds of it.
    pub(crate) fn held_by(&self, user: &Arc<User>) -> Arc<Held> {
        shared(&self.users, Arc::as_ptr(user).addr(), Held::default)
    }
}

/// The slots of a dispatcher.
pub(crate) struct Slots {
    rooms: Arc<Rooms>,
    per_host: usize,
    gates: DashMap<WebhookId, Arc<Gate>>,
    users: DashMap<UserId, Weak<User>>,
    hosts: DashMap<String, Weak<Host>>,
    beside: DashMap<UserId, Weak<Mutex<()>>>,
}

impl Slots {
    pub(crate) fn new(config: &DispatcherConfig, files: Arc<Files>) -> Self {
        let rooms = Rooms {
            first: Room::new(config.concurrency, OF_QUICK),
            later: Room::new(config.retry_concurrency, OF_QUICK),
            slow: Room::new(config.slow_requests / 2, OF_SLOW),
            fresh: Room::new(config.slow_requests / 4, OF_SILENT),
            silent: Room::new(config.slow_requests / 4, OF_SILENT),
            waiting: Room::new(usize::from(config.prefetch / 2), OF_QUICK),
            less_waits: Notify::new(),
            company: Company::new(),
            held_back: HeldBack::default(),
            files,
            per_webhook: config.per_webhook.max(1),
            circuit_failures: config.circuit_failures.max(1),
            circuit_pause: config.circuit_pause,
        };
        Self {
            rooms: Arc::new(rooms),
            per_host: config.per_host,
            gates: DashMap::new(),
            users: DashMap::new(),
            hosts: DashMap::new(),
            beside: DashMap::new(),
        }
    }

    /// The gate of `webhook`, which is `user`'s and at `host`: the same for as long as anybody
    /// holds it or there is something to remember.
    pub(crate) fn gate(&self, webhook: WebhookId, user: &UserId, host: String) -> Arc<Gate> {
        let host = shared(&self.hosts, host, || Host::new(self.per_host));
        let mut gate = self.gates.entry(webhook).or_insert_with(|| {
            let user = shared(&self.users, user.clone(), User::default);
            Arc::new(Gate::new(self.rooms.clone(), host.clone(), user))
        });
        if !Arc::ptr_eq(&gate.host, &host) {
            *gate = Arc::new(gate.moved(host));
        }
        gate.clone()
    }

    /// The line of those of a user's events that are worked on beside the intake.
    pub(crate) fn beside(&self, user: &UserId) -> Arc<Mutex<()>> {
        shared(&self.beside, user.clone(), Mutex::default)
    }

    /// The gate of `webhook`, where there is something to remember of it.
    pub(crate) fn known_gate(&self, webhook: WebhookId) -> Option<Arc<Gate>> {
        self.gates.get(&webhook).map(|gate| gate.clone())
    }

    /// Forgets what nobody uses and what there is nothing to remember of.
    pub(crate) fn forget_idle(&self) {
        self.gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle());
        self.users.retain(|_, user| user.strong_count() > 0);
        self.beside.retain(|_, line| line.strong_count() > 0);
        self.hosts.retain(|_, host| {
            host.upgrade()
                .inspect(|host| host.users.retain(|_, held| held.strong_count() > 0))
                .is_some()
        });
    }

    /// Waits until fewer messages wait here, `longest` at most.
    pub(crate) async fn less_waits(&self, longest: Duration) {
        tokio::time::timeout(longest, self.rooms.less_waits.notified()).await.ok();
    }

    /// How much is used of each room, and how large it is.
    pub(crate) fn rooms_used(&self) -> [(&'static str, (usize, usize)); 6] {
        let rooms = &self.rooms;
        [
            ("first_attempts", rooms.first.used()),
            ("retries", rooms.later.used()),
            ("slow_requests", rooms.slow.used()),
            ("first_requests_to_endpoints", rooms.fresh.used()),
            ("requests_to_silent_endpoints", rooms.silent.used()),
            ("messages_that_wait_a_moment", rooms.waiting.used()),
        ]
    }

    /// Webhooks of which something is remembered.
    pub(crate) fn known(&self) -> usize {
        self.gates.len()
    }

    /// How many requests are under way of how many that may be, and who waits for room.
    pub(crate) fn profile(&self) -> Value {
        let waiting: usize = self.gates.iter().map(|gate| gate.waiting()).sum();
        let open = self.gates.iter().filter(|gate| gate.silent_since().is_some()).count();
        let mut all = json!({
            "webhooks": self.known(),
            "users": self.users.len(),
            "hosts": self.hosts.len(),
            "waiting_for_room": waiting,
            "open_circuits": open,
        });
        for (room, (under_way, at_most)) in self.rooms_used() {
            all[room] = json!({ "under_way": under_way, "at_most": at_most });
        }
        all
    }
}

fn shared<K: std::hash::Hash + Eq, T>(
    shares: &DashMap<K, Weak<T>>,
    key: K,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    let mut known = shares.entry(key).or_default();
    known.upgrade().unwrap_or_else(|| {
        let share = Arc::new(make());
        *known = Arc::downgrade(&share);
        share
    })
}
