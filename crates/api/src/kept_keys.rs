//! How much is kept of one user's idempotency keys: bounded in keys and in bytes.
//!
//! What a user adds is counted here, and the store is looked through when that is a sixteenth of
//! what may be kept: for the first key of a user since the start, and then once in thousands. It
//! is brought down to fifteen sixteenths, so that one process keeps no more than the limit, but
//! for the answers that are on their way. Several processes count by themselves: each may add a
//! sixteenth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use domain::UserId;
use moka::sync::Cache;
use store::{KEY_BYTES, KeptKeys, Store};
use telemetry::{Counter, KeyValue};
use tokio::sync::Mutex;

use crate::ApiConfig;

/// Users of whom it is known how much they added. One who is forgotten is looked through again.
const USERS: u64 = 10_000;

/// What may be added before the store is looked through: one part of so many.
const PARTS: u64 = 16;

static FORGOTTEN: LazyLock<Counter<u64>> = LazyLock::new(|| {
    telemetry::meter()
        .u64_counter("api_idempotency_forgotten")
        .with_description("Idempotency keys, and bytes of them, forgotten before their time")
        .build()
});

/// The bounds, and what was added since they were last seen to hold.
pub(crate) struct KeyBounds {
    most: KeptKeys,
    users: Cache<UserId, Arc<Added>>,
}

/// What a user added; more than may be added at first, so that the first look is at once.
struct Added {
    keys: AtomicU64,
    bytes: AtomicU64,
    /// Held by the one who looks; the others wait, and so add nothing meanwhile.
    looking: Mutex<()>,
}

impl KeyBounds {
    /// The bounds of the settings; 0 is none.
    pub(crate) fn new(config: &ApiConfig) -> Self {
        let bound = |most| if most == 0 { u64::MAX } else { most };
        let most = KeptKeys {
            keys: bound(config.idempotency_keys),
            bytes: bound(config.idempotency_bytes),
        };
        let users = Cache::builder().max_capacity(USERS).time_to_idle(Duration::from_secs(3_600));
        Self { most, users: users.build() }
    }

    /// Whether an answer of so many bytes is kept at all.
    pub(crate) fn takes(&self, answer: usize) -> bool {
        answer as u64 <= self.most.bytes / PARTS * (PARTS - 1)
    }

    /// Counts a key that was kept with an answer of `answer` bytes, and forgets the user's oldest
    /// ones where they are too many.
    pub(crate) async fn count(&self, store: &Store, user: &UserId, answer: usize) {
        if self.most == (KeptKeys { keys: u64::MAX, bytes: u64::MAX }) {
            return;
        }
        let added = self.users.get_with_by_ref(user, || Arc::new(Added::unknown()));
        added.keys.fetch_add(1, Ordering::Relaxed);
        added.bytes.fetch_add(KEY_BYTES + answer as u64, Ordering::Relaxed);
        if !self.is_due(&added) {
            return;
        }
        let _looking = added.looking.lock().await;
        if self.is_due(&added) {
            self.look(store, user, &added).await;
        }
    }

    fn is_due(&self, added: &Added) -> bool {
        added.keys.load(Ordering::Relaxed) > self.most.keys / PARTS
            || added.bytes.load(Ordering::Relaxed) > self.most.bytes / PARTS
    }

    async fn look(&self, store: &Store, user: &UserId, added: &Added) {
        let before =
            (added.keys.swap(0, Ordering::Relaxed), added.bytes.swap(0, Ordering::Relaxed));
        let less = |most: u64| most - most / PARTS;
        let target = KeptKeys { keys: less(self.most.keys), bytes: less(self.most.bytes) };
        let more = match store.forget_surplus_keys(user, target).await {
            Ok((forgotten, more)) => {
                FORGOTTEN.add(forgotten.keys, &[KeyValue::new("what", "keys")]);
                FORGOTTEN.add(forgotten.bytes, &[KeyValue::new("what", "bytes")]);
                more
            }
            Err(error) => {
                tracing::warn!("surplus idempotency keys were not removed: {error}");
                true
            }
        };
        if more {
            added.keys.fetch_add(before.0, Ordering::Relaxed);
            added.bytes.fetch_add(before.1, Ordering::Relaxed);
        }
    }
}

impl Added {
    fn unknown() -> Self {
        Self {
            keys: AtomicU64::new(u64::MAX / 2),
            bytes: AtomicU64::new(u64::MAX / 2),
            looking: Mutex::new(()),
        }
    }
}
