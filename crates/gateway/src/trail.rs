//! The last events of each user, in pieces that are shared: whoever reads them has a copy of the
//! list of pieces, made in microseconds, and holds up nobody while reading.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use ahash::{HashMap, RandomState};
use domain::{EventId, EventType, ProjectId, UserId};

use crate::entry::Entry;

/// Events of a piece, at most: what is copied when a piece changes that somebody reads.
const PIECE: usize = 256;

/// Parts of the map of users: what is moved at once when one part grows.
const PARTS: usize = 64;

static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A number for a text, the same for as long as the process lives. Two texts may have the same:
/// who finds it compares the texts.
pub(crate) fn number(text: &str) -> u64 {
    HASHES.hash_one(text)
}

/// An event, and what of it is looked at, side by side with that of its neighbours.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) seq: u64,
    id: u64,
    project: u64,
    pub(crate) kind: EventType,
    pub(crate) entry: Arc<Entry>,
}

impl Kept {
    fn new(entry: Arc<Entry>) -> Self {
        Self {
            seq: entry.seq,
            id: number(entry.id.as_str()),
            project: entry.project.as_ref().map_or(0, |project| number(project.as_str())),
            kind: entry.kind,
            entry,
        }
    }

    /// Whether it belongs to one of these projects, whose `numbers` are given too; both sorted.
    pub(crate) fn is_among(&self, numbers: &[u64], projects: &[&ProjectId]) -> bool {
        let project = || self.entry.project.as_ref();
        numbers.binary_search(&self.project).is_ok()
            && project().is_some_and(|project| projects.binary_search(&project).is_ok())
    }
}

/// The events of one user, oldest first. A clone shares them, and stays as it is.
#[derive(Clone, Default)]
pub(crate) struct Trail {
    pieces: VecDeque<Arc<VecDeque<Kept>>>,
}

impl Trail {
    fn push(&mut self, entry: Arc<Entry>) {
        let kept = Kept::new(entry);
        if let Some(piece) = self.pieces.back_mut().filter(|piece| piece.len() < PIECE) {
            return Arc::make_mut(piece).push_back(kept);
        }
        // Most users have few events.
        let mut piece = VecDeque::with_capacity(1);
        piece.push_back(kept);
        self.pieces.reserve_exact(usize::from(self.pieces.is_empty()));
        self.pieces.push_back(Arc::new(piece));
    }

    /// Forgets the oldest event; whether none is left.
    fn pop(&mut self) -> bool {
        if let Some(piece) = self.pieces.front_mut() {
            let piece = Arc::make_mut(piece);
            piece.pop_front();
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.pieces.is_empty()
    }

    /// The newest event.
    pub(crate) fn last(&self) -> Option<&Arc<Entry>> {
        self.pieces.back().and_then(|piece| piece.back()).map(|kept| &kept.entry)
    }

    /// The place of event `id`.
    pub(crate) fn find(&self, id: &EventId) -> Option<u64> {
        let wanted = number(id.as_str());
        let newest_first = self.pieces.iter().rev().flat_map(|piece| piece.iter().rev());
        let mut same = newest_first.filter(|kept| kept.id == wanted);
        same.find(|kept| kept.entry.id == *id).map(|kept| kept.seq)
    }

    /// The events after place `seq`.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &Kept> {
        let ended = |piece: &Arc<VecDeque<Kept>>| piece.back().is_none_or(|last| last.seq <= seq);
        let first = self.pieces.partition_point(ended);
        let events = self.pieces.range(first..).flat_map(|piece| piece.iter());
        events.skip_while(move |kept| kept.seq <= seq)
    }
}

/// The events of all users, found by user.
pub(crate) struct Trails {
    parts: Box<[HashMap<UserId, Trail>]>,
}

impl Trails {
    pub(crate) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| HashMap::default()).collect() }
    }

    fn part(user: &UserId) -> usize {
        number(user.as_str()) as usize % PARTS
    }

    /// Adds an event behind those of its user.
    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        let part = &mut self.parts[Self::part(&entry.user)];
        part.entry(entry.user.clone()).or_default().push(entry);
    }

    /// Forgets the oldest event of `user`.
    pub(crate) fn pop(&mut self, user: &UserId) {
        let part = &mut self.parts[Self::part(user)];
        if part.get_mut(user).is_some_and(Trail::pop) {
            part.remove(user);
        }
    }

    /// The events of `user`.
    pub(crate) fn of(&self, user: &UserId) -> Option<&Trail> {
        self.parts[Self::part(user)].get(user)
    }

    #[cfg(test)]
    pub(crate) fn users(&self) -> usize {
        self.parts.iter().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::tests::entry;

    fn seqs(trail: &Trail, after: u64) -> Vec<u64> {
        trail.after(after).map(|kept| kept.seq).collect()
    }

    #[test]
    fn a_trail_of_many_pieces_is_gone_along_from_any_place() {
        let count = 3 * PIECE as u64 + 7;
        let mut trail = Trail::default();
        (1..=count).for_each(|seq| trail.push(entry(seq, "u", "p")));
        for after in [0, 1, 255, 256, 257, 511, 512, count - 1, count, count + 9] {
            assert_eq!(seqs(&trail, after), (after + 1..=count).collect::<Vec<_>>(), "{after}");
        }
        for seq in [1, 256, 257, count] {
            assert_eq!(trail.find(&format!("e{seq}").parse().unwrap()), Some(seq));
        }
        assert_eq!(trail.find(&"e0".parse().unwrap()), None);
        assert_eq!(trail.last().map(|entry| entry.seq), Some(count));
        assert!((1..count).all(|_| !trail.pop()) && trail.pop() && trail.last().is_none());
    }

    #[test]
    fn a_copy_stays_as_it_is_while_events_come_and_go() {
        let mut trail = Trail::default();
        (1..=300).for_each(|seq| trail.push(entry(seq, "u", "p")));
        let copy = trail.clone();
        assert!((0..290).all(|_| !trail.pop()));
        (301..=310).for_each(|seq| trail.push(entry(seq, "u", "p")));
        assert_eq!(seqs(&copy, 0), (1..=300).collect::<Vec<_>>());
        assert_eq!(seqs(&trail, 0), (291..=310).collect::<Vec<_>>());
    }
}
