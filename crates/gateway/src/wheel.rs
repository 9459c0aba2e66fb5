//! One timer for all connections of a worker: whatever is due within the same tick waits in the
//! same bucket. A connection costs a few bytes here, and nothing at all until its turn.

use std::time::{Duration, Instant};

/// Items by the tick at which they are due.
pub(crate) struct Wheel<T> {
    buckets: Vec<Vec<T>>,
    tick: Duration,
    started: Instant,
    /// Ticks that have been handed out.
    done: u64,
}

impl<T> Wheel<T> {
    /// A wheel that goes round in `turn` or a little more.
    pub(crate) fn new(tick: Duration, turn: Duration, now: Instant) -> Self {
        let ticks = turn.as_nanos().div_ceil(tick.as_nanos().max(1));
        let count = usize::try_from(ticks).unwrap_or(usize::MAX).clamp(1, 100_000) + 2;
        let buckets = std::iter::repeat_with(Vec::new).take(count).collect();
        Self { buckets, tick, started: now, done: 0 }
    }

    /// Has `item` handed out at the first tick not before `at`, or after a whole turn if that is
    /// sooner: whoever gets it looks whether its time has come.
    pub(crate) fn insert(&mut self, at: Instant, item: T) {
        let since = at.saturating_duration_since(self.started);
        let due = since.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        let count = self.buckets.len() as u64;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let due = due.clamp(self.done + 1, self.done + count - 1);
        let bucket = (due % count) as usize;
        self.buckets[bucket].push(item);
    }

    /// What is due by `now`.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<T> {
        let passed = now.saturating_duration_since(self.started).as_nanos();
        let passed = u64::try_from(passed / self.tick.as_nanos().max(1)).unwrap_or(u64::MAX);
        let count = self.buckets.len() as u64;
        let mut due = Vec::new();
        // After a long sleep each bucket is emptied once.
        for tick in (self.done + 1..=passed).take(self.buckets.len()) {
            let bucket = (tick % count) as usize;
            if due.is_empty() {
                due = std::mem::take(&mut self.buckets[bucket]);
            } else {
                due.append(&mut self.buckets[bucket]);
            }
        }
        self.done = self.done.max(passed);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn an_item_beyond_a_turn_is_handed_out_after_one_turn() {
        let start = Instant::now();
        let mut wheel = Wheel::new(TICK, Duration::from_secs(1), start);
        wheel.insert(start + Duration::from_secs(60), 'a');
        assert!(wheel.advance(start + Duration::from_millis(1_000)).is_empty());
        assert_eq!(wheel.advance(start + Duration::from_millis(1_200)), ['a']);
    }

    #[test]
    fn after_a_long_sleep_everything_is_handed_out_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(TICK, Duration::from_secs(1), start);
        for n in 0..12_u32 {
            wheel.insert(start + TICK * n, n);
        }
        let mut due = wheel.advance(start + Duration::from_secs(3_600));
        due.sort_unstable();
        assert_eq!(due, (0..12).collect::<Vec<_>>());
        assert!(wheel.advance(start + Duration::from_secs(3_700)).is_empty());
    }

    proptest! {
        #[test]
        fn an_item_is_handed_out_once_at_most_a_tick_late_and_never_early(
            due in 0_u64..1_000, step in 1_u64..400,
        ) {
            let start = Instant::now();
            let mut wheel = Wheel::new(TICK, Duration::from_secs(1), start);
            wheel.insert(start + Duration::from_millis(due), ());
            let (mut at, mut found) = (0, None);
            while at < 3_000 {
                at += step;
                for () in wheel.advance(start + Duration::from_millis(at)) {
                    prop_assert!(found.replace(at).is_none());
                }
            }
            let found = found.expect("it is handed out");
            prop_assert!(found >= due && found < due.max(1) + 100 + step);
        }
    }
}
