//! What is broken, and in which order.

use std::fmt;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::Backend;

/// Something that happens to an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One of the dispatchers is killed and started again.
    KillDispatcher(usize),
    /// One of the dispatchers is asked to stop, and started again.
    StopDispatcher(usize),
    /// One of the dispatchers is frozen.
    FreezeDispatcher(usize, Duration),
    /// The API is killed and started again.
    KillApi,
    /// The broker is killed and started again.
    KillBroker,
    /// The broker is frozen: its connections stay open and nobody answers.
    FreezeBroker(Duration),
    /// The database is killed and started again.
    KillDatabase,
    /// The database is frozen.
    FreezeDatabase(Duration),
    /// The one process of the embedded installation is killed and started again.
    KillAll,
    /// It is asked to stop, and started again.
    StopAll,
    /// It is frozen.
    FreezeAll(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillDispatcher(n) => write!(f, "dispatcher {n} killed"),
            Self::StopDispatcher(n) => write!(f, "dispatcher {n} stopped"),
            Self::FreezeDispatcher(n, time) => write!(f, "dispatcher {n} frozen for {time:.1?}"),
            Self::KillApi => f.write_str("API killed"),
            Self::KillBroker => f.write_str("broker killed"),
            Self::FreezeBroker(time) => write!(f, "broker frozen for {time:.1?}"),
            Self::KillDatabase => f.write_str("database killed"),
            Self::FreezeDatabase(time) => write!(f, "database frozen for {time:.1?}"),
            Self::KillAll => f.write_str("the process killed"),
            Self::StopAll => f.write_str("the process stopped"),
            Self::FreezeAll(time) => write!(f, "the process frozen for {time:.1?}"),
        }
    }
}

/// The faults to come: every kind once in random order, the freezes as long as they may be; then
/// again and again with shorter ones.
pub(super) struct Coming {
    backend: Backend,
    longest_freeze: Duration,
    round: Vec<Fault>,
    first_round: bool,
}

impl Coming {
    pub(super) fn new(backend: Backend, longest_freeze: Duration) -> Self {
        Self { backend, longest_freeze, round: Vec::new(), first_round: true }
    }

    /// How long everything is left alone before the next fault: sometimes too short to recover.
    pub(super) fn pause(&self, random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(200..2_000))
    }

    pub(super) fn next(&mut self, random: &mut StdRng) -> Fault {
        if self.round.is_empty() {
            self.round = self.kinds(random);
            self.round.shuffle(random);
            self.first_round = false;
        }
        self.round.pop().expect("a round has faults")
    }

    fn kinds(&self, random: &mut StdRng) -> Vec<Fault> {
        let longest = u64::try_from(self.longest_freeze.as_millis()).unwrap_or(u64::MAX).max(2);
        let mut freeze = || {
            let later = random.random_range(longest / 10..=longest / 3);
            Duration::from_millis(if self.first_round { longest } else { later })
        };
        match self.backend {
            Backend::Servers => vec![
                Fault::FreezeBroker(freeze()),
                Fault::FreezeDatabase(freeze()),
                Fault::FreezeDispatcher(1, freeze() / 2),
                Fault::KillBroker,
                Fault::KillDatabase,
                Fault::KillDispatcher(0),
                Fault::KillDispatcher(1),
                Fault::StopDispatcher(0),
                Fault::KillApi,
            ],
            Backend::Embedded => {
                vec![Fault::FreezeAll(freeze()), Fault::KillAll, Fault::KillAll, Fault::StopAll]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn a_seed_brings_the_same_faults_and_the_first_round_has_every_kind() {
        let faults = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let mut coming = Coming::new(Backend::Servers, Duration::from_secs(30));
            (0..18).map(|_| coming.next(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
        let first = &faults(7)[..9];
        assert!(first.contains(&Fault::FreezeBroker(Duration::from_secs(30))), "{first:?}");
        assert!(first.contains(&Fault::KillDatabase) && first.contains(&Fault::KillApi));
    }
}
