//! A queue that can be taken from: what is ready next lies in memory, within bounds; the rest
//! stays in the file and is read when there is room.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::embedded::message::Shared;

/// Messages of one lane in memory, at most, in number and bytes.
const MOST: usize = 16_384;
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Below this many the file is read again.
const FEW: usize = 4_096;

/// The queues with a lane of their own; the number stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Dispatch = 0,
    Deliver = 1,
    Rejected = 2,
}

/// The place of a message in its lane: when it became ready (unix ms; 0 where that says nothing),
/// then its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) ready_at: i64,
    pub(super) id: i64,
}

/// A message that can be taken.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) place: Place,
    pub(super) message: Shared,
    pub(super) redelivered: bool,
    pub(super) returns: u32,
}

pub(super) struct Lane {
    pub(super) name: Name,
    /// Up to this place, messages are an earlier process's, who may have taken them.
    left_over: Place,
    state: Mutex<State>,
    /// Something can be taken.
    pub(super) arrived: Notify,
    /// There is something to read from the file, or another time to wait for.
    pub(super) wanted: Notify,
    /// Messages finished so far.
    pub(super) finished: AtomicU64,
}

struct State {
    ready: BTreeMap<Place, Ready>,
    bytes: usize,
    consumers: usize,
    /// Up to here everything is in memory, under way, or done.
    loaded: Place,
    /// The last that was committed and is ready, as far as the file holds more than `loaded`.
    spilled: Option<Place>,
    /// When the next delayed one in the file becomes ready.
    next_due: Option<i64>,
}

/// What to read from the file: everything after `after`, up to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) after: Place,
    pub(super) to: Place,
    pub(super) most: usize,
}

impl Lane {
    /// A lane whose file holds messages up to `left_over`.
    pub(super) fn new(name: Name, left_over: Place) -> Self {
        let state = State {
            ready: BTreeMap::new(),
            bytes: 0,
            consumers: 0,
            loaded: Place::default(),
            spilled: Some(left_over),
            next_due: None,
        };
        Self {
            name,
            left_over,
            state: Mutex::new(state),
            arrived: Notify::new(),
            wanted: Notify::new(),
            finished: AtomicU64::new(0),
        }
    }

    /// Who takes from it.
    pub(super) fn consumers(&self) -> usize {
        self.lock().consumers
    }

    /// Whether an earlier process may have taken the message at `place`.
    pub(super) fn is_left_over(&self, place: Place) -> bool {
        place <= self.left_over
    }

    pub(super) fn join(&self) {
        self.lock().consumers += 1;
        self.wanted.notify_one();
    }

    pub(super) fn leave(&self) {
        self.lock().consumers -= 1;
        // Whoever stays may have slept through what this one gave back.
        self.arrived.notify_one();
    }

    /// Takes the first ones, at most `most`.
    pub(super) fn take(&self, most: usize, taken: &mut Vec<Ready>) {
        let mut state = self.lock();
        while taken.len() < most
            && let Some((_, ready)) = state.ready.pop_first()
        {
            state.bytes -= ready.message.bytes_in_memory();
            taken.push(ready);
        }
        if !state.ready.is_empty() {
            self.arrived.notify_one();
        }
        if state.wants_to_read() {
            self.wanted.notify_one();
        }
    }

    /// Brings back what was taken and not finished, to its place.
    pub(super) fn put_back(&self, mut ready: Ready) {
        ready.redelivered = true;
        ready.returns = ready.returns.saturating_add(1);
        self.lock().insert(ready);
        self.arrived.notify_one();
    }

    /// Takes in a message that was just committed, behind all before it, if somebody is there to take it, there is
    /// room, and nothing before it waits in the file.
    pub(super) fn arrive(&self, place: Place, message: Shared) {
        let mut state = self.lock();
        let overdue = state.next_due.is_some_and(|due| due <= place.ready_at);
        if state.spilled.is_some() || overdue || state.consumers == 0 || !state.has_room() {
            state.spilled = Some(place);
            if state.wants_to_read() {
                self.wanted.notify_one();
            }
            return;
        }
        state.loaded = place;
        state.insert(Ready { place, message, redelivered: false, returns: 0 });
        drop(state);
        self.arrived.notify_one();
    }

    /// Notes that a message in the file becomes ready at `due`.
    pub(super) fn expect(&self, due: i64) {
        let mut state = self.lock();
        if state.next_due.is_none_or(|next| due < next) {
            state.next_due = Some(due);
            drop(state);
            self.wanted.notify_one();
        }
    }

    /// When the next delayed one becomes ready.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.lock().next_due
    }

    /// What to read now, if anything. `now` is the last place that can be ready. The caller
    /// answers with [`Lane::load`].
    pub(super) fn gap(&self, now: Place) -> Option<Gap> {
        let mut state = self.lock();
        if state.next_due.is_some_and(|due| due <= now.ready_at) {
            // Looked up again after the reading.
            state.next_due = None;
            state.spilled = Some(state.spilled.map_or(now, |spilled| spilled.max(now)));
        }
        let most = MOST - state.ready.len().min(MOST);
        state.wants_to_read().then_some(Gap { after: state.loaded, to: now, most })
    }

    /// Takes in what was read of `gap`; `whole` when there was nothing more in it.
    pub(super) fn load(&self, gap: Gap, messages: Vec<Ready>, whole: bool) {
        let mut state = self.lock();
        let last = messages.last().map_or(gap.after, |last| last.place);
        state.loaded = if whole { gap.to } else { last };
        messages.into_iter().for_each(|ready| state.insert(ready));
        if state.spilled.is_some_and(|spilled| spilled <= state.loaded) {
            state.spilled = None;
        }
        let more = state.wants_to_read();
        drop(state);
        self.arrived.notify_one();
        if more {
            self.wanted.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, ready: Ready) {
        self.bytes += ready.message.bytes_in_memory();
        self.ready.insert(ready.place, ready);
    }

    fn has_room(&self) -> bool {
        self.ready.len() < MOST && self.bytes < MOST_BYTES
    }

    fn wants_to_read(&self) -> bool {
        self.spilled.is_some()
            && self.consumers > 0
            && self.ready.len() < FEW
            && self.bytes < MOST_BYTES / 2
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Outgoing;
    use crate::embedded::message::Message;

    fn message() -> Shared {
        Arc::new(Message::new(None, Outgoing::json("{}".into())))
    }

    fn place(ready_at: i64, id: i64) -> Place {
        Place { ready_at, id }
    }

    fn ready(place: Place) -> Ready {
        Ready { place, message: message(), redelivered: false, returns: 0 }
    }

    fn taken(lane: &Lane) -> Vec<Place> {
        let mut taken = Vec::new();
        lane.take(100, &mut taken);
        taken.into_iter().map(|ready| ready.place).collect()
    }

    fn lane() -> Lane {
        let lane = Lane::new(Name::Deliver, Place::default());
        lane.join();
        let gap = lane.gap(place(10, 0)).expect("a new lane is read once");
        lane.load(gap, Vec::new(), true);
        lane
    }

    #[test]
    fn what_is_committed_goes_straight_to_who_waits() {
        let lane = lane();
        lane.arrive(place(11, 1), message());
        assert_eq!(taken(&lane), [place(11, 1)]);
        assert!(lane.gap(place(12, 1)).is_none());
    }

    #[test]
    fn a_message_that_came_due_before_is_not_overtaken() {
        let lane = lane();
        lane.expect(20);
        lane.arrive(place(20, 2), message());
        assert_eq!(taken(&lane), [], "the one due at 20 is still in the file");
        let gap = lane.gap(place(20, 2)).unwrap();
        assert_eq!((gap.after, gap.to), (place(10, 0), place(20, 2)));
        lane.load(gap, vec![ready(place(20, 1)), ready(place(20, 2))], true);
        assert_eq!(taken(&lane), [place(20, 1), place(20, 2)]);
    }

    #[test]
    fn what_is_committed_while_the_file_is_read_is_read_next() {
        let lane = lane();
        lane.expect(20);
        let gap = lane.gap(place(20, 1)).unwrap();
        lane.arrive(place(20, 2), message());
        lane.load(gap, vec![ready(place(20, 1))], true);
        let gap = lane.gap(place(21, 2)).unwrap();
        assert_eq!(gap.after, place(20, 1));
        lane.load(gap, vec![ready(place(20, 2))], true);
        assert_eq!(taken(&lane), [place(20, 1), place(20, 2)]);
        assert!(lane.gap(place(22, 2)).is_none());
    }

    #[test]
    fn nothing_is_kept_in_memory_for_nobody() {
        let lane = lane();
        lane.leave();
        lane.arrive(place(11, 1), message());
        assert_eq!(taken(&lane), []);
        assert!(lane.gap(place(11, 1)).is_none());
        lane.join();
        assert!(lane.gap(place(11, 1)).is_some());
    }

    #[test]
    fn what_comes_back_takes_its_old_place() {
        let lane = lane();
        for id in 1..=3 {
            lane.arrive(place(11, id), message());
        }
        let mut out = Vec::new();
        lane.take(2, &mut out);
        out.drain(..).rev().for_each(|ready| lane.put_back(ready));
        lane.take(3, &mut out);
        let seen: Vec<_> = out.iter().map(|r| (r.place.id, r.redelivered, r.returns)).collect();
        assert_eq!(seen, [(1, true, 1), (2, true, 1), (3, false, 0)]);
    }
}
