//! How long healthy users waited, by themselves and beside a crowd.

use std::fmt;

use crate::quantile::quantile;

/// Waits in milliseconds; what never came counts with the time until it was given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// How many.
    pub count: usize,
    /// How many of them never came.
    pub missing: usize,
    /// What half of them did not exceed.
    pub p50: f64,
    /// What 99 of 100 did not exceed.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Figures {
    /// Of waits in microseconds.
    #[must_use]
    pub fn of(mut waits: Vec<u64>, missing: usize) -> Self {
        waits.sort_unstable();
        let at = |share| quantile(&waits, share).unwrap_or_default() as f64 / 1_000.0;
        Self { count: waits.len(), missing, p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, missing, p50, p99, max } = self;
        if *count == 0 {
            return f.write_str("none");
        }
        write!(f, "{p50:.1} / {p99:.1} / {max:.1}")?;
        if *missing > 0 {
            write!(f, " ({missing} of {count} never came)")?;
        }
        Ok(())
    }
}

/// What healthy users waited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// From publish to arrival.
    pub firsts: Figures,
    /// How late second attempts came.
    pub retries: Figures,
    /// Second attempts that came before their time.
    pub early: usize,
}

/// The same users with and without others.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// By themselves.
    pub alone: Waits,
    /// Beside the crowd.
    pub beside: Waits,
    /// What else was seen of the crowd.
    pub notes: Vec<String>,
}

impl Compared {
    /// How many times as long the first attempts' p99 is beside the crowd.
    #[must_use]
    pub fn times(&self) -> f64 {
        self.beside.firsts.p99 / self.alone.firsts.p99
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (alone, beside) = (&self.alone, &self.beside);
        writeln!(
            f,
            "p50 / p99 / max in ms of {} and {} events",
            alone.firsts.count, beside.firsts.count
        )?;
        writeln!(f, "  first attempts, alone:   {}", alone.firsts)?;
        writeln!(f, "  first attempts, beside:  {}; p99 {:.2} times", beside.firsts, self.times())?;
        writeln!(f, "  retries late by, alone:  {}", alone.retries)?;
        write!(f, "  retries late by, beside: {}", beside.retries)?;
        if alone.early + beside.early > 0 {
            write!(f, "\n  retries before their time: {} and {}", alone.early, beside.early)?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}
