//! A webhook's circuit: after several slow failures in a row to reach it, it is left alone, but
//! for a probe now and then, so that a dead endpoint costs next to nothing.

use std::time::{Duration, Instant};

use domain::{AttemptReport, FailureKind};

/// A failure that comes sooner costs too little to be spared: an endpoint that refuses
/// connections fails on schedule.
const SLOW: Duration = Duration::from_secs(1);

/// Whether an endpoint may be tried.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    /// When the next probe may go.
    probe_at: Instant,
}

impl Circuit {
    /// Whether there is nothing to remember.
    pub(crate) fn is_untroubled(&self) -> bool {
        self.failures == 0
    }

    /// Whether it lets only probes through.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether an attempt may be made at `now`. An open circuit lets one through for each pause.
    ///
    /// # Errors
    /// How long it has been open, when none may be made.
    pub(crate) fn admits(&mut self, now: Instant, pause: Duration) -> Result<(), Duration> {
        match &mut self.open {
            Some(open) if now < open.probe_at => Err(now - open.since),
            Some(open) => {
                open.probe_at = now + pause;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What came of an attempt that ended at `now`. Only failures to reach the endpoint that took
    /// their time count: one that answers, whatever it answers, costs little.
    pub(crate) fn note(
        &mut self,
        report: &AttemptReport,
        now: Instant,
        limit: u32,
        pause: Duration,
    ) {
        use FailureKind::{BlockedAddress, Dns, Network, Timeout, Tls};
        let unreached = match report.failure.as_ref().map(|failure| failure.kind) {
            Some(Timeout) => true,
            // A name that points inside is treated as one that is unknown: the webhook's user must
            // not learn which it is from when the attempts are made.
            Some(Network | Tls | Dns | BlockedAddress) => report.duration >= SLOW,
            _ => false,
        };
        if !unreached {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limit {
            let since = self.open.as_ref().map_or(now, |open| open.since);
            self.open = Some(Open { since, probe_at: now + pause });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AttemptFailure;

    const PAUSE: Duration = Duration::from_secs(15);

    fn report(kind: Option<FailureKind>, took: Duration) -> AttemptReport {
        AttemptReport {
            started_at: time::OffsetDateTime::UNIX_EPOCH,
            duration: took,
            status: None,
            address: None,
            response: Default::default(),
            retry_after: None,
            failure: kind.map(|kind| AttemptFailure { kind, text: String::new() }),
        }
    }

    #[test]
    fn a_circuit_opens_after_its_limit_and_lets_single_probes_through() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let silent = report(Some(FailureKind::Timeout), Duration::from_secs(30));
        for _ in 0..3 {
            assert_eq!(circuit.admits(now, PAUSE), Ok(()));
            circuit.note(&silent, now, 3, PAUSE);
        }
        assert_eq!(circuit.admits(now, PAUSE), Err(Duration::ZERO));
        assert_eq!(circuit.admits(now + PAUSE, PAUSE), Ok(()), "the probe");
        assert_eq!(circuit.admits(now + PAUSE, PAUSE), Err(PAUSE), "only one");
        circuit.note(&silent, now + PAUSE, 3, PAUSE);
        assert_eq!(circuit.admits(now + PAUSE, PAUSE), Err(PAUSE), "open since the beginning");
        circuit.note(&report(None, Duration::ZERO), now + PAUSE, 3, PAUSE);
        assert_eq!(circuit.admits(now + PAUSE, PAUSE), Ok(()), "closed again");
    }

    #[test]
    fn an_endpoint_that_fails_at_once_keeps_its_circuit_closed() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for kind in [FailureKind::Status, FailureKind::Network, FailureKind::Tls] {
            for _ in 0..100 {
                circuit.note(&report(Some(kind), Duration::from_millis(5)), now, 3, PAUSE);
            }
            assert_eq!(circuit.admits(now, PAUSE), Ok(()), "{kind}");
        }
    }
}
