//! Room that users share: slots, places for slow requests, connections to one host.
//!
//! Nobody has a fixed part. A user may take more as long as what they hold is less than a multiple
//! of what is free (dynamic thresholds, as switches share their buffers: Choudhury and Hahne, 1998).
//! One alone has nearly all of it, several have equal parts, however many webhooks or events each of
//! them has, and something stays free for one who comes. Within a user's part, webhooks share in the
//! same way. Who finds no room waits in a ring: user by user, and webhook by webhook of each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::gate::Gate;

/// How many one user holds of one room.
pub(crate) type Held = AtomicUsize;

/// How much of what is free one user may hold: a multiple of it, or one of so many equal parts. The
/// smaller it is, the more is left for those who come, and the less has one alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Times(usize),
    OneOf(usize),
}

impl Part {
    fn of(self, free: usize) -> usize {
        match self {
            Self::Times(factor) => free.saturating_mul(factor),
            Self::OneOf(parts) => free.div_ceil(parts),
        }
    }
}

/// Room for so many.
#[derive(Debug)]
pub(crate) struct Room {
    size: usize,
    part: Part,
    used: AtomicUsize,
    ring: Ring,
}

impl Room {
    pub(crate) fn new(size: usize, part: Part) -> Self {
        Self { size: size.max(1), part, used: AtomicUsize::new(0), ring: Ring::default() }
    }

    /// Takes one for a user who holds `user`, and of that `webhook` for the webhook it is for; false
    /// when it is others' turn, or nothing is free.
    pub(crate) fn take(&self, user: &Held, webhook: usize) -> bool {
        let part = self.part.of(self.free());
        let mine = user.load(Ordering::Acquire);
        let webhooks_part = match self.part {
            Part::Times(factor) => factor * part.saturating_sub(mine),
            Part::OneOf(_) => part.saturating_sub(mine),
        };
        if mine >= part || webhook > webhooks_part {
            return false;
        }
        self.force(user);
        true
    }

    fn free(&self) -> usize {
        self.size.saturating_sub(self.used.load(Ordering::Acquire))
    }

    /// Takes one if anything is free, whoever asks.
    pub(crate) fn take_any(&self, user: &Held) -> bool {
        let any = self.free() > 0;
        if any {
            self.force(user);
        }
        any
    }

    /// Takes one, whether there is room or not.
    pub(crate) fn force(&self, user: &Held) {
        user.fetch_add(1, Ordering::AcqRel);
        self.used.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives one back. Call [`Room::wake`] once no lock is held.
    pub(crate) fn give_back(&self, user: &Held) {
        user.fetch_sub(1, Ordering::AcqRel);
        self.used.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many are used of how many.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.used.load(Ordering::Acquire), self.size)
    }

    /// `gate` waits for room here.
    pub(crate) fn wait(&self, gate: &Arc<Gate>) {
        self.ring.join(gate);
    }

    /// Lets those try whose turn it is.
    pub(crate) fn wake(&self) {
        for _ in 0..TRIES {
            match self.ring.next() {
                Some(gate) => gate.pump(),
                None => return,
            }
        }
    }
}

/// How many may try for each that was given back: more than one, since some may have left.
const TRIES: usize = 3;

/// Gates that wait for room, by their users.
#[derive(Debug, Default)]
struct Ring {
    /// Kept beside the lock, so that nobody takes it while nobody waits.
    waiting: AtomicUsize,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    users: VecDeque<usize>,
    gates: HashMap<usize, VecDeque<Weak<Gate>>>,
}

impl Ring {
    fn join(&self, gate: &Arc<Gate>) {
        let mut turns = self.lock();
        let user = gate.user_key();
        let gates = turns.gates.entry(user).or_default();
        gates.push_back(Arc::downgrade(gate));
        if gates.len() == 1 {
            turns.users.push_back(user);
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    fn next(&self) -> Option<Arc<Gate>> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut turns = self.lock();
        loop {
            let user = turns.users.pop_front()?;
            let Some(gates) = turns.gates.get_mut(&user) else { continue };
            let next = gates.pop_front();
            if gates.is_empty() {
                turns.gates.remove(&user);
            } else {
                turns.users.push_back(user);
            }
            if next.is_some() {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
            }
            if let Some(gate) = next.and_then(|gate| gate.upgrade()) {
                return Some(gate);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(room: &Room, user: &Held) -> usize {
        let before = user.load(Ordering::Acquire);
        while room.take(user, 0) {}
        user.load(Ordering::Acquire) - before
    }

    #[test]
    fn one_alone_has_most_of_it_and_one_who_comes_still_finds_some() {
        let (room, first, second) = (Room::new(100, Part::Times(4)), Held::new(0), Held::new(0));
        assert_eq!(fill(&room, &first), 80);
        let found = fill(&room, &second);
        assert!((15..=17).contains(&found), "{found}");
    }

    #[test]
    fn what_is_given_back_goes_to_whoever_has_less() {
        let (room, first, second) = (Room::new(100, Part::Times(1)), Held::new(0), Held::new(0));
        assert_eq!(fill(&room, &first), 50);
        for _ in 0..100 {
            room.give_back(&first);
            room.take(&first, 0);
            room.take(&second, 0);
        }
        let parts = (first.load(Ordering::Acquire), second.load(Ordering::Acquire));
        assert!(parts.0.abs_diff(parts.1) <= 5, "{parts:?}");
    }

    #[test]
    fn a_small_part_leaves_room_for_the_hundredth_who_comes() {
        let room = Room::new(768, Part::OneOf(32));
        let users: Vec<Held> = (0..100).map(|_| Held::new(0)).collect();
        let parts: Vec<usize> = users.iter().map(|user| fill(&room, user)).collect();
        assert_eq!(parts[0], 24);
        assert!(parts.iter().all(|part| *part > 0), "{parts:?}");
        assert!(room.free() > 10, "{parts:?}");
    }

    #[test]
    fn a_users_webhooks_share_the_users_part() {
        let (room, user) = (Room::new(100, Part::Times(1)), Held::new(0));
        let mut first = 0;
        while room.take(&user, first) {
            first += 1;
        }
        assert!((30..50).contains(&first), "{first}");
        assert!(room.take(&user, 0), "another webhook of the user still finds room");
    }
}
