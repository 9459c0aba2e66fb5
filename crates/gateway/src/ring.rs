//! The last events, in memory, so that a client that comes back is told what it missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::HashMap;
use domain::{EventId, UserId};

use crate::entry::Entry;

/// How much is kept: what is first reached counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) age: Duration,
    pub(crate) bytes: usize,
    pub(crate) events: usize,
}

/// The last events of all users, oldest first.
pub(crate) struct Ring {
    bounds: Bounds,
    entries: VecDeque<(Instant, Arc<Entry>)>,
    by_user: HashMap<UserId, VecDeque<Arc<Entry>>>,
    /// The last event of each user that is no longer kept: everything after it is. One who has
    /// seen it has missed nothing, however long ago that was.
    expired: Expired,
    bytes: usize,
    top: u64,
}

/// Events by user; two generations, so that users who were not heard of for long are forgotten.
#[derive(Default)]
struct Expired {
    young: HashMap<UserId, (EventId, u64)>,
    old: HashMap<UserId, (EventId, u64)>,
}

impl Expired {
    /// Users in a generation, at most.
    const GENERATION: usize = 50_000;

    fn note(&mut self, entry: &Entry) {
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(entry.user.clone(), (entry.id.clone(), entry.seq));
    }

    fn of(&self, user: &UserId) -> Option<&(EventId, u64)> {
        self.young.get(user).or_else(|| self.old.get(user))
    }
}

impl Ring {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: VecDeque::new(),
            by_user: HashMap::default(),
            expired: Expired::default(),
            bytes: 0,
            top: 0,
        }
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
    pub(crate) fn push(&mut self, entry: Arc<Entry>, now: Instant) {
        self.top = entry.seq;
        self.bytes += entry.len();
        self.by_user.entry(entry.user.clone()).or_default().push_back(entry.clone());
        self.entries.push_back((now, entry));
        self.expire(now);
    }

    /// Forgets what is too old or too much.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.entries.front()
            && (now.duration_since(*at) > self.bounds.age
                || self.bytes > self.bounds.bytes
                || self.entries.len() > self.bounds.events)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, oldest)) = self.entries.pop_front() else {
            return;
        };
        self.bytes -= oldest.len();
        self.expired.note(&oldest);
        if let Some(events) = self.by_user.get_mut(&oldest.user) {
            // The oldest of all is the oldest of its user.
            events.pop_front();
            if events.is_empty() {
                self.by_user.remove(&oldest.user);
            }
        }
    }

    /// The place of `user`'s event `id`, if all after it are still here.
    pub(crate) fn find(&self, user: &UserId, id: &EventId) -> Option<u64> {
        let kept = self.by_user.get(user).into_iter().flatten();
        let found = kept.rev().find(|entry| entry.id == *id).map(|entry| entry.seq);
        let expired = || self.expired.of(user).filter(|(known, _)| known == id);
        found.or_else(|| expired().map(|(_, seq)| *seq))
    }

    /// The newest event of `user` that is known.
    pub(crate) fn last(&self, user: &UserId) -> Option<&EventId> {
        let kept = self.by_user.get(user).and_then(VecDeque::back).map(|entry| &entry.id);
        kept.or_else(|| self.expired.of(user).map(|(id, _)| id))
    }

    /// `user`'s events after place `seq`, oldest first.
    pub(crate) fn after<'a>(
        &'a self,
        user: &UserId,
        seq: u64,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.by_user.get(user).into_iter().flat_map(move |events| {
            let first = events.partition_point(|entry| entry.seq <= seq);
            events.range(first..)
        })
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
            ring.push(entry(seq, user, "p"), now + Duration::from_secs(seq));
        }
        ring
    }

    const WIDE: Bounds =
        Bounds { age: Duration::from_secs(1_000), bytes: usize::MAX, events: usize::MAX };

    fn seqs(ring: &Ring, user: &str, after: u64) -> Vec<u64> {
        ring.after(&user.parse().unwrap(), after).map(|entry| entry.seq).collect()
    }

    #[test]
    fn a_user_is_given_their_own_events_after_a_place_in_order() {
        let ring = ring(WIDE, 9);
        assert_eq!(seqs(&ring, "odd", 3), [5, 7, 9]);
        assert_eq!(seqs(&ring, "even", 0), [2, 4, 6, 8]);
        assert_eq!(seqs(&ring, "nobody", 0), [0_u64; 0]);
        let id = "e4".parse().unwrap();
        assert_eq!(ring.find(&"even".parse().unwrap(), &id), Some(4));
        assert_eq!(ring.find(&"odd".parse().unwrap(), &id), None, "another user's id is unknown");
    }

    #[test]
    fn each_bound_holds_and_what_is_forgotten_is_forgotten_everywhere() {
        let one = entry(1, "odd", "p").len();
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
        ring.expire(Instant::now() + Duration::from_secs(5_000));
        assert_eq!((ring.size(), ring.by_user.len(), ring.top()), ((0, 0), 0, 9));
    }

    #[test]
    fn the_last_event_that_is_no_longer_kept_is_still_a_place_to_resume_from() {
        let ring = ring(Bounds { events: 4, ..WIDE }, 9);
        let (odd, even) = ("odd".parse().unwrap(), "even".parse().unwrap());
        let find = |user, id: &str| ring.find(user, &id.parse().unwrap());
        assert_eq!((find(&odd, "e5"), find(&odd, "e3")), (Some(5), None), "7 and 9 are kept");
        assert_eq!((find(&even, "e4"), find(&even, "e2")), (Some(4), None));
        assert_eq!(ring.last(&odd).map(EventId::as_str), Some("e9"));
        assert_eq!(ring.last(&"nobody".parse().unwrap()), None);
    }
}
