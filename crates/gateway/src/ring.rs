//! The last events, in memory, so that a client that comes back is told what it missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::HashMap;
use domain::{EventId, UserId};

use crate::entry::Entry;
use crate::trail::{Kept, Trail, Trails};

/// How much is kept: what is first reached counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) age: Duration,
    pub(crate) bytes: usize,
    pub(crate) events: usize,
}

/// Events that are forgotten at once, at most: others wait for the ring meanwhile.
const STEP: usize = 256;

/// Bytes that an event takes in the ring beside its own: its place in the order, and in the index
/// of its user.
const PLACE: usize = size_of::<(Instant, Arc<Entry>)>() + size_of::<Kept>();

/// The last events of all users, oldest first. Nothing that is asked of it takes longer the more
/// events there are, but for a copy of a list that has an entry for each 256 of a user.
pub(crate) struct Ring {
    bounds: Bounds,
    entries: VecDeque<(Instant, Arc<Entry>)>,
    by_user: Trails,
    /// The last event of each user that is no longer kept: everything after it is. One who has
    /// seen it has missed nothing, however long ago that was.
    expired: Expired,
    bytes: usize,
    top: u64,
}

type Generation = HashMap<UserId, (EventId, u64)>;

/// Events by user; two generations, so that users who were not heard of for long are forgotten.
#[derive(Default)]
struct Expired {
    young: Generation,
    old: Generation,
}

impl Expired {
    /// Users in a generation, at most.
    const GENERATION: usize = 50_000;

    /// Notes event `id` of `user`; gives back the generation that is forgotten for it, if any.
    fn note(&mut self, user: &UserId, id: &EventId, seq: u64) -> Generation {
        let mut forgotten = Generation::default();
        if self.young.len() >= Self::GENERATION {
            forgotten = std::mem::take(&mut self.old);
            // Room for all of it: growing moves everything.
            let next = Generation::with_capacity_and_hasher(Self::GENERATION, Default::default());
            self.old = std::mem::replace(&mut self.young, next);
        }
        self.young.insert(user.clone(), (id.clone(), seq));
        forgotten
    }

    fn of(&self, user: &UserId) -> Option<&(EventId, u64)> {
        self.young.get(user).or_else(|| self.old.get(user))
    }
}

/// What is left to do after a change of the ring: drop it once the ring is let go.
#[must_use]
pub(crate) struct Left {
    /// There is more to forget.
    pub(crate) more: bool,
    _forgotten: Generation,
}

/// The events of one user, as they were when they were asked for.
pub(crate) struct Past {
    trail: Trail,
    expired: Option<(EventId, u64)>,
}

impl Past {
    /// The place of the event `id`, if all after it are still here.
    pub(crate) fn find(&self, id: &EventId) -> Option<u64> {
        let expired = || self.expired.as_ref().filter(|(known, _)| known == id);
        self.trail.find(id).or_else(|| expired().map(|(_, seq)| *seq))
    }

    /// The events after place `seq`, oldest first.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &Kept> {
        self.trail.after(seq)
    }
}

impl Ring {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: VecDeque::new(),
            by_user: Trails::new(),
            expired: Expired::default(),
            bytes: 0,
            top: 0,
        }
    }

    /// Bytes that `entry` takes here.
    fn taken_by(entry: &Entry) -> usize {
        entry.len() + PLACE
    }

    /// The number of the newest event; 0 when there was none.
    pub(crate) fn top(&self) -> u64 {
        self.top
    }

    /// How many events and bytes are kept.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Adds the next event.
    pub(crate) fn push(&mut self, entry: Arc<Entry>, now: Instant) -> Left {
        self.top = entry.seq;
        self.bytes += Self::taken_by(&entry);
        self.by_user.push(entry.clone());
        self.entries.push_back((now, entry));
        self.expire(now)
    }

    /// Forgets a part of what is too old or too much.
    pub(crate) fn expire(&mut self, now: Instant) -> Left {
        let mut forgotten = Generation::default();
        for _ in 0..STEP {
            if !self.is_over(now) {
                break;
            }
            let generation = self.forget_oldest();
            if !generation.is_empty() {
                forgotten = generation;
            }
        }
        Left { more: self.is_over(now), _forgotten: forgotten }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.entries.front().is_some_and(|(at, _)| {
            now.duration_since(*at) > self.bounds.age
                || self.bytes > self.bounds.bytes
                || self.entries.len() > self.bounds.events
        })
    }

    fn forget_oldest(&mut self) -> Generation {
        let Some((_, oldest)) = self.entries.pop_front() else {
            return Generation::default();
        };
        self.bytes -= Self::taken_by(&oldest);
        // The oldest of all is the oldest of its user.
        self.by_user.pop(&oldest.user);
        self.expired.note(&oldest.user, &oldest.id, oldest.seq)
    }

    /// What is known of `user`'s events, to be looked through once the ring is let go.
    pub(crate) fn past(&self, user: &UserId) -> Past {
        Past {
            trail: self.by_user.of(user).cloned().unwrap_or_default(),
            expired: self.expired.of(user).cloned(),
        }
    }

    /// The newest event of `user` that is known.
    pub(crate) fn last(&self, user: &UserId) -> Option<&EventId> {
        let kept = self.by_user.of(user).and_then(Trail::last).map(|entry| &entry.id);
        kept.or_else(|| self.expired.of(user).map(|(id, _)| id))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use domain::{Event, Origin};

    pub(crate) fn entry(seq: u64, user: &str, project: &str) -> Arc<Entry> {
        let text = format!(
            r#"{{"id":"e{seq}","event":"scrape.started","timestamp":"2026-02-02T12:00:00Z","user_id":"{user}","data":{{"project_id":"{project}"}}}}"#
        );
        let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
        Arc::new(Entry::new(seq, &event))
    }

    fn ring(bounds: Bounds, count: u64) -> Ring {
        let mut ring = Ring::new(bounds);
        let now = Instant::now();
        for seq in 1..=count {
            let user = if seq % 2 == 0 { "even" } else { "odd" };
            drop(ring.push(entry(seq, user, "p"), now + Duration::from_secs(seq)));
        }
        ring
    }

    const WIDE: Bounds =
        Bounds { age: Duration::from_secs(1_000), bytes: usize::MAX, events: usize::MAX };

    fn seqs(ring: &Ring, user: &str, after: u64) -> Vec<u64> {
        ring.past(&user.parse().unwrap()).after(after).map(|kept| kept.seq).collect()
    }

    fn find(ring: &Ring, user: &str, id: &str) -> Option<u64> {
        ring.past(&user.parse().unwrap()).find(&id.parse().unwrap())
    }

    #[test]
    fn a_user_is_given_their_own_events_after_a_place_in_order() {
        let ring = ring(WIDE, 9);
        assert_eq!(seqs(&ring, "odd", 3), [5, 7, 9]);
        assert_eq!(seqs(&ring, "even", 0), [2, 4, 6, 8]);
        assert_eq!(seqs(&ring, "nobody", 0), [0_u64; 0]);
        assert_eq!(find(&ring, "even", "e4"), Some(4));
        assert_eq!(find(&ring, "odd", "e4"), None, "another user's id is unknown");
    }

    #[test]
    fn each_bound_holds_and_what_is_forgotten_is_forgotten_everywhere() {
        let one = Ring::taken_by(&entry(1, "odd", "p"));
        for bounds in [
            Bounds { events: 4, ..WIDE },
            Bounds { bytes: 4 * one, ..WIDE },
            Bounds { age: Duration::from_secs(3), ..WIDE },
        ] {
            let ring = ring(bounds, 9);
            assert_eq!(ring.size(), (4, 4 * one), "{bounds:?}");
            assert_eq!((seqs(&ring, "odd", 0), seqs(&ring, "even", 0)), (vec![7, 9], vec![6, 8]));
        }
    }

    #[test]
    fn a_ring_that_expires_whole_keeps_no_event() {
        let mut ring = ring(WIDE, 9);
        assert!(!ring.expire(Instant::now() + Duration::from_secs(5_000)).more);
        assert_eq!((ring.size(), ring.by_user.users(), ring.top()), ((0, 0), 0, 9));
    }

    #[test]
    fn many_events_that_are_too_old_are_forgotten_in_steps() {
        let mut ring = ring(WIDE, 3 * STEP as u64);
        let late = Instant::now() + Duration::from_secs(5_000);
        let more: Vec<bool> = (0..3).map(|_| ring.expire(late).more).collect();
        assert_eq!((more, ring.size()), (vec![true, true, false], (0, 0)));
    }

    #[test]
    fn users_who_were_not_heard_of_for_long_are_forgotten_by_the_generation() {
        let mut expired = Expired::default();
        let user = |number: usize| format!("u{number}").parse::<UserId>().unwrap();
        let id = "e".parse().unwrap();
        let mut note = |number| expired.note(&user(number), &id, 1).len();
        let both = 2 * Expired::GENERATION;
        assert!((0..both).all(|number| note(number) == 0));
        assert_eq!(note(both), Expired::GENERATION, "given back, to be dropped elsewhere");
        let known = [0, Expired::GENERATION, both].map(|n| expired.of(&user(n)).is_some());
        assert_eq!(known, [false, true, true]);
    }

    #[test]
    fn the_last_event_that_is_no_longer_kept_is_still_a_place_to_resume_from() {
        let ring = ring(Bounds { events: 4, ..WIDE }, 9);
        let find = |user, id| find(&ring, user, id);
        assert_eq!((find("odd", "e5"), find("odd", "e3")), (Some(5), None), "7 and 9 are kept");
        assert_eq!((find("even", "e4"), find("even", "e2")), (Some(4), None));
        assert_eq!(ring.last(&"odd".parse().unwrap()).map(EventId::as_str), Some("e9"));
        assert_eq!(ring.last(&"nobody".parse().unwrap()), None);
    }
}
