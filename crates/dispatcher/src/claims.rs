//! Who works on what: a message is acknowledged when all of its deliveries are settled, and a
//! copy of a message under way joins it instead of doing the work twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use broker::Acker;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use crate::backlog::Row;
use crate::suspects::{Mark, Suspicion};

/// Work that came with one message, or with several copies of it. Dropped before every part
/// is settled, it hands its messages back to the broker.
pub(crate) struct Claim {
    key: Uuid,
    parts: AtomicUsize,
    /// `None` once settled.
    ackers: Mutex<Option<Vec<Acker>>>,
    /// Of a suspect, until every part was made.
    mark: Mutex<Option<Mark>>,
    _whole: Option<DropGuard>,
    claims: Arc<Shared>,
}

/// One part of a claim: one delivery. All of them settled, the message is acknowledged.
pub(crate) struct Part {
    claim: Arc<Claim>,
    mark: Option<Mark>,
}

/// What is kept of a delivery until its work is recorded.
pub(crate) enum Held {
    /// A part of a message that is not acknowledged yet.
    Message(Part),
    /// Its place in a backlog that is drained here.
    Row(Row),
    /// Nothing: its row in the store says who works on it and for how long.
    Nothing,
}

impl Held {
    /// Of a suspect, what is to be dropped once its request has left.
    pub(crate) fn take_mark(&mut self) -> Option<Mark> {
        match self {
            Self::Message(part) => part.mark.take(),
            _ => None,
        }
    }

    /// The attempt is slow: others of backlogs go meanwhile.
    pub(crate) fn is_slow(&mut self) {
        if let Self::Row(row) = self {
            row.unrecorded = None;
        }
    }

    /// The work is recorded; nothing of it can be lost any more.
    pub(crate) fn settle(self) {
        match self {
            Self::Message(part) => part.settle(),
            Self::Row(_) | Self::Nothing => {}
        }
    }
}

/// Whether work is to be done.
pub(crate) enum Claimed {
    /// It is new here.
    New(Arc<Claim>),
    /// It is under way or was done a moment ago: nothing is to be done.
    Known,
}

/// The claims of a dispatcher.
pub(crate) struct Claims(Arc<Shared>);

struct Shared {
    under_way: DashMap<Uuid, Weak<Claim>>,
    recent: Mutex<Recent>,
}

/// The last keys, in two generations: the older is dropped whole when the younger is full.
struct Recent {
    young: HashSet<Uuid>,
    old: HashSet<Uuid>,
    generation: usize,
}

impl Recent {
    fn remember(&mut self, key: Uuid) {
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
    }

    fn knows(&self, key: &Uuid) -> bool {
        self.young.contains(key) || self.old.contains(key)
    }
}

/// No panic can leave these values half-changed, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claims {
    /// Claims that remember the last `remembered` keys.
    pub(crate) fn new(remembered: usize) -> Self {
        let generation = (remembered / 2).max(1);
        let recent = Recent { young: HashSet::new(), old: HashSet::new(), generation };
        Self(Arc::new(Shared { under_way: DashMap::new(), recent: Mutex::new(recent) }))
    }

    /// Claims an event, which happens once: a copy of one settled a moment ago is known.
    pub(crate) fn event(&self, key: Uuid, acker: Acker, suspicion: Option<Suspicion>) -> Claimed {
        if lock(&self.0.recent).knows(&key) {
            acker.ack();
            return Claimed::Known;
        }
        self.task(key, acker, suspicion)
    }

    /// Claims a delivery task: only a copy that is under way at this moment is known, because
    /// the same delivery comes again for its next attempt.
    pub(crate) fn task(&self, key: Uuid, acker: Acker, suspicion: Option<Suspicion>) -> Claimed {
        let mut acker = Some(acker);
        let entry = self.0.under_way.entry(key);
        if let Entry::Occupied(known) = &entry
            && let Some(claim) = known.get().upgrade()
            && let Some(ackers) = lock(&claim.ackers).as_mut()
        {
            ackers.extend(acker.take());
            return Claimed::Known;
        }
        let (mark, whole) = suspicion.map(|found| (found.mark, found.whole)).unzip();
        let claim = Arc::new(Claim {
            key,
            parts: AtomicUsize::new(1),
            ackers: Mutex::new(Some(acker.into_iter().collect())),
            mark: Mutex::new(mark),
            _whole: whole,
            claims: self.0.clone(),
        });
        entry.insert(Arc::downgrade(&claim));
        Claimed::New(claim)
    }
}

impl Claim {
    /// Another part that must be settled. The claim itself is one part, settled by
    /// [`Claim::settle_first`] once all others were made.
    pub(crate) fn part(self: &Arc<Self>) -> Part {
        self.parts.fetch_add(1, Ordering::Relaxed);
        Part { claim: self.clone(), mark: lock(&self.mark).clone() }
    }

    /// Every part was made: from now on the last one settled acknowledges.
    pub(crate) fn settle_first(&self) {
        lock(&self.mark).take();
        self.settle();
    }

    fn settle(&self) {
        if self.parts.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        lock(&self.claims.recent).remember(self.key);
        for acker in lock(&self.ackers).take().into_iter().flatten() {
            acker.ack();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Not the entry of a claim that took this one's place.
        self.claims.under_way.remove_if(&self.key, |_, known| known.strong_count() == 0);
    }
}

impl Part {
    /// The part's work is recorded.
    fn settle(self) {
        self.claim.settle();
    }
}
