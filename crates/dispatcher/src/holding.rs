//! How many attempts hold a message that is not acknowledged. The broker hands out only so many
//! messages: while attempts that take their time hold half of them, they let go sooner.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::DispatcherConfig;
use crate::slots::Lane;

/// Those of each lane, which has messages of its own.
#[derive(Debug)]
pub(crate) struct Lanes {
    first: Holding,
    later: Holding,
}

impl Lanes {
    pub(crate) fn new(config: &DispatcherConfig) -> Self {
        Self { first: Holding::new(config.prefetch), later: Holding::new(config.deliver_prefetch) }
    }

    pub(crate) fn of(&self, lane: Lane) -> &Holding {
        match lane {
            Lane::First => &self.first,
            Lane::Later => &self.later,
        }
    }
}

/// The attempts that hold messages.
#[derive(Debug)]
pub(crate) struct Holding {
    now: AtomicUsize,
    much: usize,
}

/// An attempt that holds a message, until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a Holding);

impl Holding {
    /// Of `prefetch` messages that are handed out at most.
    fn new(prefetch: u16) -> Self {
        Self { now: AtomicUsize::new(0), much: usize::from(prefetch / 2).max(1) }
    }

    /// Counts one more.
    pub(crate) fn begin(&self) -> Held<'_> {
        self.now.fetch_add(1, Ordering::AcqRel);
        Held(self)
    }

    /// Whether attempts hold so many that others may find none.
    pub(crate) fn is_much(&self) -> bool {
        self.now.load(Ordering::Acquire) > self.much
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_is_much() {
        let holding = Holding::new(4);
        let held: Vec<_> = (0..3).map(|_| holding.begin()).collect();
        assert!(holding.is_much());
        drop(held);
        assert!(!holding.is_much());
    }
}
