//! The newest entries of the history, in memory for those who follow it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Event;
use tokio::sync::watch;

/// Entries in memory, at most, in number and bytes.
const MOST: usize = 4_096;
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Entries given out together.
const PAGE: usize = 256;

pub(super) struct Recent {
    state: Mutex<State>,
    /// The last id that was committed.
    committed: watch::Sender<i64>,
}

struct State {
    readers: usize,
    entries: VecDeque<(i64, Event)>,
    bytes: usize,
    /// Every entry after this id is in `entries`.
    after: i64,
}

impl Recent {
    pub(super) fn new(committed: i64) -> Self {
        let state = State { readers: 0, entries: VecDeque::new(), bytes: 0, after: committed };
        Self { state: Mutex::new(state), committed: watch::Sender::new(committed) }
    }

    pub(super) fn committed(&self) -> watch::Receiver<i64> {
        self.committed.subscribe()
    }

    pub(super) fn join(&self) {
        self.lock().readers += 1;
    }

    pub(super) fn leave(&self) {
        self.lock().readers -= 1;
    }

    /// Takes in what was committed, up to the id `committed`.
    pub(super) fn arrive(&self, events: Vec<(i64, Event)>, committed: i64) {
        self.lock().arrive(events, committed);
        self.committed.send_replace(committed);
    }

    /// The next entries after `cursor`; `None` when they must be read from the file.
    pub(super) fn after(&self, cursor: i64) -> Option<Vec<(i64, Event)>> {
        let state = self.lock();
        if cursor < state.after {
            return None;
        }
        let first = state.entries.partition_point(|(id, _)| *id <= cursor);
        Some(state.entries.iter().skip(first).take(PAGE).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn arrive(&mut self, events: Vec<(i64, Event)>, committed: i64) {
        if self.readers == 0 {
            self.entries.clear();
            (self.bytes, self.after) = (0, committed);
            return;
        }
        for (id, event) in events {
            self.bytes += event.payload.len();
            self.entries.push_back((id, event));
        }
        while self.entries.len() > MOST || self.bytes > MOST_BYTES {
            let Some((id, event)) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= event.payload.len();
            self.after = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Origin;

    use super::*;

    fn event() -> Event {
        let body = br#"{"id":"evt_1","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"u","data":{}}"#;
        Event::from_json(body, &Origin::default()).unwrap()
    }

    fn ids(recent: &Recent, cursor: i64) -> Option<Vec<i64>> {
        Some(recent.after(cursor)?.into_iter().map(|(id, _)| id).collect())
    }

    #[test]
    fn what_came_before_the_reader_is_in_the_file() {
        let recent = Recent::new(7);
        recent.arrive(vec![(8, event())], 8);
        recent.join();
        assert_eq!(ids(&recent, 7), None);
        assert_eq!(ids(&recent, 8), Some(vec![]));
        recent.arrive(vec![(9, event()), (11, event())], 12);
        assert_eq!(ids(&recent, 8), Some(vec![9, 11]));
        assert_eq!(ids(&recent, 9), Some(vec![11]));
    }

    #[test]
    fn the_oldest_make_room_and_are_read_from_the_file() {
        let recent = Recent::new(0);
        recent.join();
        let last = i64::try_from(MOST).unwrap() + 1;
        recent.arrive((1..=last).map(|id| (id, event())).collect(), last);
        assert_eq!(ids(&recent, 0), None);
        assert_eq!(ids(&recent, 1).unwrap()[0], 2);
    }
}
