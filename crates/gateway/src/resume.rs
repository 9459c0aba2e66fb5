//! Coming back: what a client missed, in order, without gap or double against what is live.
//!
//! A worker handles events in order; `handled` is the last one. Later ones that are in the ring
//! already are on their way to it. So a replay sends what was missed and also what is on its
//! way, and everything up to the top of the ring then counts as sent.

use std::sync::Arc;

use domain::{EventId, EventSet, ProjectId};

use crate::entry::Entry;
use crate::ring::Past;
use crate::subscriptions::{Subscriptions, Topic};
use crate::trail::{self, Kept};

/// A client that comes back.
pub(crate) struct Return<'a> {
    /// What it has subscribed to already on this connection.
    pub(crate) before: &'a Subscriptions,
    pub(crate) topics: &'a [Topic],
    pub(crate) events: EventSet,
    /// The last event that it has seen.
    pub(crate) since: &'a EventId,
}

/// How much may be sent again.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// What is asked for, in the form in which it is looked for.
struct Sought<'a> {
    all: bool,
    /// The numbers of the projects, sorted.
    numbers: Vec<u64>,
    projects: Vec<&'a ProjectId>,
    events: EventSet,
}

impl<'a> Sought<'a> {
    fn by(back: &Return<'a>) -> Self {
        let all = back.topics.contains(&Topic::All);
        let mut projects: Vec<&ProjectId> = back.topics.iter().filter_map(Topic::project).collect();
        projects.sort_unstable();
        projects.dedup();
        let mut numbers: Vec<u64> = projects.iter().map(|id| trail::number(id.as_str())).collect();
        numbers.sort_unstable();
        Self { all, numbers, projects, events: back.events }
    }

    fn has(&self, kept: &Kept) -> bool {
        self.events.contains(kept.kind)
            && (self.all || kept.is_among(&self.numbers, &self.projects))
    }
}

/// What to send of the user's `past`, oldest first; `None` when that is not known whole, or too
/// much.
pub(crate) fn missed(
    past: &Past,
    back: &Return<'_>,
    handled: u64,
    room: Room,
) -> Option<Vec<Arc<Entry>>> {
    let seen = past.find(back.since)?;
    let sought = Sought::by(back);
    let (mut missed, mut bytes) = (Vec::new(), 0);
    for kept in past.after(seen.min(handled)) {
        let on_its_way = kept.seq > handled && back.before.want(&kept.entry);
        let asked_for = kept.seq > seen && sought.has(kept);
        if !on_its_way && (!asked_for || back.before.want(&kept.entry)) {
            continue;
        }
        bytes += kept.entry.len();
        if missed.len() == room.events || bytes > room.bytes {
            return None;
        }
        missed.push(kept.entry.clone());
    }
    Some(missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::tests::entry;
    use crate::ring::{Bounds, Ring};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const WIDE: Room = Room { events: usize::MAX, bytes: usize::MAX };

    /// Events 1 to `count` of one user, in projects p0, p1, p2 in turn.
    fn ring(count: u64) -> Ring {
        let bounds = Bounds { age: Duration::from_secs(60), bytes: usize::MAX, events: usize::MAX };
        let mut ring = Ring::new(bounds);
        for seq in 1..=count {
            drop(ring.push(entry(seq, "u", &format!("p{}", seq % 3)), Instant::now()));
        }
        ring
    }

    fn every() -> EventSet {
        EventSet::parse(["*"]).unwrap()
    }

    fn seqs(
        ring: &Ring,
        before: &Subscriptions,
        topic: &str,
        since: &str,
        handled: u64,
        room: Room,
    ) -> Option<Vec<u64>> {
        let (past, since) = (ring.past(&"u".parse().unwrap()), since.parse().unwrap());
        let topics: Vec<Topic> = topic.split(' ').filter_map(Topic::parse).collect();
        let back = Return { before, topics: &topics, events: every(), since: &since };
        missed(&past, &back, handled, room)
            .map(|found| found.iter().map(|entry| entry.seq).collect())
    }

    #[test]
    fn what_was_missed_is_all_of_it_or_nothing() {
        let (ring, none) = (ring(12), Subscriptions::default());
        assert_eq!(seqs(&ring, &none, "p1", "e4", 12, WIDE), Some(vec![7, 10]));
        assert_eq!(seqs(&ring, &none, "*", "e10", 12, WIDE), Some(vec![11, 12]));
        assert_eq!(seqs(&ring, &none, "*", "e12", 12, WIDE), Some(vec![]));
        assert_eq!(seqs(&ring, &none, "p1 p2", "e7", 12, WIDE), Some(vec![8, 10, 11]));
        assert_eq!(seqs(&ring, &none, "p1 p1 p2 p1", "e7", 12, WIDE), Some(vec![8, 10, 11]));
        assert_eq!(seqs(&ring, &none, "p9", "e1", 12, WIDE), Some(vec![]));
        assert_eq!(seqs(&ring, &none, "*", "e99", 12, WIDE), None, "an unknown event");
        let few = Room { events: 2, ..WIDE };
        assert_eq!(seqs(&ring, &none, "*", "e10", 12, few), Some(vec![11, 12]));
        assert_eq!(seqs(&ring, &none, "*", "e9", 12, few), None, "too many");
        let small = Room { bytes: 100, ..WIDE };
        assert_eq!(seqs(&ring, &none, "*", "e10", 12, small), None, "too much");
    }

    #[test]
    fn what_another_subscription_brought_is_not_sent_again() {
        let ring = ring(12);
        let mut before = Subscriptions::default();
        before.add(&Topic::parse("p1").unwrap(), every(), 3);
        // 4 was sent (handled up to 6); 7 and 10 are on their way and take their turn here.
        assert_eq!(
            seqs(&ring, &before, "*", "e2", 6, WIDE),
            Some(vec![3, 5, 6, 7, 8, 9, 10, 11, 12])
        );
        // Resuming another project: what is on its way for p1 keeps the order.
        assert_eq!(seqs(&ring, &before, "p0", "e2", 6, WIDE), Some(vec![3, 6, 7, 9, 10, 12]));
    }

    proptest! {
        /// Whatever was subscribed to before, wherever the worker is: the client has seen each
        /// event that it wants once, and in order from the moment it comes back.
        #[test]
        fn nothing_is_missed_and_nothing_comes_twice(
            count in 1_u64..40, subscribed_at in 0_u64..40, handled in 0_u64..40,
            since in 1_u64..40, first in 0_usize..4, second in 0_usize..4,
        ) {
            let topics = ["*", "p0", "p1", "p2"];
            let (subscribed_at, handled) = (subscribed_at.min(count), handled.min(count));
            let (since, subscribed_at) = (since.min(count), subscribed_at.min(handled));
            let ring = ring(count);
            let mut before = Subscriptions::default();
            before.add(&Topic::parse(topics[first]).unwrap(), every(), subscribed_at);
            let past = ring.past(&"u".parse().unwrap());
            let entries: Vec<_> = past.after(0).map(|kept| kept.entry.clone()).collect();
            let sent = entries.iter().filter(|e| e.seq <= handled && before.want(e));
            let mut received: Vec<u64> = sent.map(|e| e.seq).collect();
            let replayed =
                seqs(&ring, &before, topics[second], &format!("e{since}"), handled, WIDE).unwrap();
            prop_assert!(replayed.is_sorted());
            received.extend(replayed);
            let topic = Topic::parse(topics[second]).unwrap();
            before.add(&topic, every(), count);
            let expected: Vec<u64> = entries
                .iter()
                .filter(|e| {
                    let first = Topic::parse(topics[first]).unwrap();
                    (first.has(e) && e.seq > subscribed_at) || (topic.has(e) && e.seq > since)
                })
                .map(|e| e.seq)
                .collect();
            received.sort_unstable();
            prop_assert_eq!(received, expected);
        }
    }
}
