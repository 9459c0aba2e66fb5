//! How much may be under way. Two lanes have slots of their own, so that first attempts never
//! wait behind retries. An attempt that takes long leaves its slot to others and is counted among
//! the slow ones, so that no crowd of silent endpoints can take the slots of those that answer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use domain::{AttemptReport, UserId, WebhookId};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::DispatcherConfig;
use crate::gate::{Busy, Entered, Gate, Limits, Share};

/// An attempt that has taken this long is slow.
const SLOW_AFTER: Duration = Duration::from_millis(250);

/// Which slots an attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// First attempts.
    First,
    /// Retries, redeliveries and handed-back work.
    Later,
}

/// The slots of a dispatcher.
pub(crate) struct Slots {
    first: Arc<Semaphore>,
    later: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    /// How many each of the three has when nothing is under way.
    sizes: [usize; 3],
    /// With fewer free, slow requests are scarce.
    scarce: usize,
    limits: Limits,
    gates: DashMap<WebhookId, Arc<Gate>>,
    users: DashMap<UserId, Weak<Share>>,
    hosts: DashMap<String, Weak<Share>>,
}

/// A request that may be made. Dropped, its slots are free again.
pub(crate) struct Slot {
    entered: Entered,
    permit: OwnedSemaphorePermit,
    slow: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new(config: &DispatcherConfig) -> Self {
        let slow = config.slow_requests.max(8);
        let sizes = [config.concurrency.max(1), config.retry_concurrency.max(1), slow];
        let [first, later, slow_room] = sizes.map(|size| Arc::new(Semaphore::new(size)));
        Self {
            first,
            later,
            slow: slow_room,
            sizes,
            scarce: slow / 2,
            limits: Limits {
                per_webhook: config.per_webhook.max(1),
                per_host: config.per_host.max(1),
                per_user: config.per_user.max(1),
                slow_per_user: slow / 4,
                slow_per_webhook: 4,
                circuit_failures: config.circuit_failures.max(1),
                circuit_pause: config.circuit_pause,
            },
            gates: DashMap::new(),
            users: DashMap::new(),
            hosts: DashMap::new(),
        }
    }

    /// The gate of `webhook`, which is `user`'s and at `host`: the same for as long as anybody
    /// holds it or there is something to remember.
    pub(crate) fn gate(&self, webhook: WebhookId, user: &UserId, host: String) -> Arc<Gate> {
        let host = shared(&self.hosts, host, self.limits.per_host);
        let mut gate = self.gates.entry(webhook).or_insert_with(|| {
            let user = shared(&self.users, user.clone(), self.limits.per_user);
            Arc::new(Gate::new(&self.limits, host.clone(), user))
        });
        // It points elsewhere now: what its old host did says nothing of the new one.
        if !Arc::ptr_eq(&gate.host, &host) {
            let user = gate.user.clone();
            *gate = Arc::new(Gate::new(&self.limits, host, user));
        }
        gate.clone()
    }

    /// Forgets what nobody uses and what there is nothing to remember of.
    pub(crate) fn forget_idle(&self) {
        self.gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_untroubled());
        self.users.retain(|_, share| share.strong_count() > 0);
        self.hosts.retain(|_, share| share.strong_count() > 0);
    }

    /// Counts a request to the webhook of `gate`, if it may be made.
    ///
    /// # Errors
    /// [`Busy`] when the delivery must wait its turn with the broker.
    pub(crate) fn enter(&self, gate: &Arc<Gate>, lane: Lane) -> Result<Entered, Busy> {
        let scarce = self.slow.available_permits() < self.scarce;
        gate.enter(&self.limits, scarce, lane == Lane::First)
    }

    /// Whether it pays to wait for room with [`Slots::enter_soon`].
    pub(crate) fn is_quick(&self, gate: &Gate) -> bool {
        gate.is_quick(&self.limits)
    }

    /// The same as [`Slots::enter`], after waiting a moment for room.
    ///
    /// # Errors
    /// [`Busy`] when there was none.
    pub(crate) async fn enter_soon(&self, gate: &Arc<Gate>, lane: Lane) -> Result<Entered, Busy> {
        gate.enter_soon(&self.limits, lane == Lane::First).await
    }

    /// A slot for the request. Waits for a free one of the lane, which holds up whoever takes
    /// messages: that is the back-pressure.
    pub(crate) async fn slot(&self, entered: Entered, lane: Lane) -> Slot {
        let lane = match lane {
            Lane::First => &self.first,
            Lane::Later => &self.later,
        };
        let permit = lane.clone().acquire_owned().await.expect("the semaphores are never closed");
        Slot { entered, permit, slow: self.slow.clone() }
    }

    /// How many requests are under way of how many that may be, and who waits for room.
    pub(crate) fn profile(&self) -> Value {
        let used = |room: &Semaphore, most: usize| json!({ "under_way": most.saturating_sub(room.available_permits()), "at_most": most });
        let [first, later, slow] = self.sizes;
        let waiting: usize = self.gates.iter().map(|gate| gate.waiting()).sum();
        let open = self.gates.iter().filter(|gate| gate.is_open()).count();
        json!({
            "first_attempts": used(&self.first, first),
            "retries": used(&self.later, later),
            "slow_requests": used(&self.slow, slow),
            "webhooks": self.gates.len(),
            "users": self.users.len(),
            "hosts": self.hosts.len(),
            "waiting_for_room": waiting,
            "open_circuits": open,
        })
    }

    /// Remembers what came of an attempt.
    pub(crate) fn note(&self, gate: &Gate, report: &AttemptReport) {
        gate.note(report, &self.limits);
    }
}

fn shared<K: std::hash::Hash + Eq>(
    shares: &DashMap<K, Weak<Share>>,
    key: K,
    limit: usize,
) -> Arc<Share> {
    let mut known = shares.entry(key).or_default();
    known.upgrade().unwrap_or_else(|| {
        let share = Arc::new(Share::new(limit));
        *known = Arc::downgrade(&share);
        share
    })
}

impl Slot {
    /// Waits for `request`. When it turns out to be slow, its slot goes to others, as long as
    /// there is room among the slow ones.
    pub(crate) async fn hold<T>(mut self, request: impl Future<Output = T>) -> T {
        let mut request = std::pin::pin!(request);
        if let Ok(done) = tokio::time::timeout(SLOW_AFTER, &mut request).await {
            return done;
        }
        if let Ok(permit) = self.slow.clone().try_acquire_owned() {
            self.permit = permit;
            self.entered.becomes_slow();
        }
        request.await
    }
}
