//! What the checker found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// So many violations of each invariant are told in words; the others are counted.
const TOLD: usize = 10;

/// What must hold whatever is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every confirmed event reached every webhook that asked for it, or stands as failed after
    /// all attempts.
    I1Delivered,
    /// One log row per webhook and event, its attempts without gaps, in agreement with what the
    /// endpoint saw.
    I2LoggedOnce,
    /// No attempt is earlier than the schedule says.
    I3OnTime,
    /// The same id and bytes on every attempt; signatures verify.
    I4SameBytes,
    /// Duplicates do not exceed the work that was under way.
    I5FewDuplicates,
    /// Nobody receives what is another's, or what they did not ask for.
    I6NobodyElses,
    /// Back by itself within 10 s, without growing, spinning or shouting.
    I7BackAlone,
    /// Nothing is left in the queues.
    I8QueuesEmpty,
}

/// One thing that should not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it breaks.
    pub invariant: Invariant,
    /// What was found, with ids.
    pub what: String,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Pairs of a confirmed event and a webhook that asked for it.
    pub expected: usize,
    /// Of these, those whose endpoint took the event.
    pub delivered: usize,
    /// Of these, those that stand as failed after all attempts.
    pub failed: usize,
    /// Requests that reached the receiver.
    pub requests: usize,
    /// Of these, those that repeat an attempt, or come after one was taken.
    pub duplicates: usize,
    /// How much later than their step retries came, sorted.
    pub lateness: Vec<Duration>,
    /// The first violations of each invariant.
    pub violations: Vec<Violation>,
    /// All violations, counted.
    pub counts: BTreeMap<Invariant, usize>,
}

impl Report {
    pub(super) fn violate(&mut self, invariant: Invariant, what: impl FnOnce() -> String) {
        let count = self.counts.entry(invariant).or_default();
        *count += 1;
        if *count <= TOLD {
            self.violations.push(Violation { invariant, what: what() });
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// The invariants that are broken.
    #[must_use]
    pub fn broken(&self) -> Vec<Invariant> {
        self.counts.keys().copied().collect()
    }

    /// The lateness that `share` (0 to 1) of the retries do not exceed; zero without retries.
    #[must_use]
    pub fn lateness_at(&self, share: f64) -> Duration {
        crate::quantile::quantile(&self.lateness, share).unwrap_or_default()
    }

    /// For tests: nothing, or all that was found.
    ///
    /// # Panics
    /// When something is wrong.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, delivered, failed, requests, duplicates, lateness, .. } = self;
        writeln!(f, "{expected} deliveries expected: {delivered} delivered, {failed} failed;")?;
        write!(f, "{requests} requests, {duplicates} of them duplicates")?;
        if let Some(worst) = lateness.last() {
            let p99 = self.lateness_at(0.99);
            write!(f, "; retries at most {worst:?} late, p99 {p99:?}")?;
        }
        for (invariant, count) in &self.counts {
            write!(f, "\n{invariant:?} broken {count} times:")?;
            for violation in self.violations.iter().filter(|v| v.invariant == *invariant) {
                write!(f, "\n  {}", violation.what)?;
            }
        }
        Ok(())
    }
}
