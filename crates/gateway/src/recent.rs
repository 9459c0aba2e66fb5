//! The history is at least once, and a publisher may send an event twice: copies are dropped.

use domain::{Event, EventKey};

use ahash::HashSet;

/// The keys of the last events, at least [`Recent::GENERATION`] of them.
#[derive(Default)]
pub(crate) struct Recent {
    young: HashSet<EventKey>,
    old: HashSet<EventKey>,
}

impl Recent {
    /// How many are kept at least; at most twice as many, 16 bytes each.
    const GENERATION: usize = 100_000;

    /// Whether `event` comes for the first time.
    pub(crate) fn is_new(&mut self, event: &Event) -> bool {
        let key = event.key();
        if self.old.contains(&key) || !self.young.insert(key) {
            return false;
        }
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Origin;

    fn event(id: u32, user: &str) -> Event {
        let text = format!(
            r#"{{"id":"e{id}","event":"scrape.started","timestamp":"2026-02-02T12:00:00Z","user_id":"{user}","data":{{}}}}"#
        );
        Event::from_json(text.as_bytes(), &Origin::default()).unwrap()
    }

    #[test]
    fn a_copy_is_known_and_the_same_id_of_another_user_is_no_copy() {
        let mut recent = Recent::default();
        assert!(recent.is_new(&event(1, "a")));
        assert!(!recent.is_new(&event(1, "a")));
        assert!(recent.is_new(&event(1, "b")));
    }
}
