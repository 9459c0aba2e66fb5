//! A webhook's circuit: after several failures in a row to reach it, it is left alone, but for
//! a probe now and then, so that a dead endpoint costs next to nothing.

use std::time::{Duration, Instant};

use domain::{AttemptReport, FailureKind};

/// Whether an endpoint may be tried.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    failures: u32,
    /// While open: when the next probe may go.
    probe_at: Option<Instant>,
}

impl Circuit {
    /// Whether there is nothing to remember.
    pub(crate) fn is_untroubled(&self) -> bool {
        self.failures == 0
    }

    /// Whether an attempt may be made at `now`. An open circuit lets one through for each pause.
    pub(crate) fn admits(&mut self, now: Instant, pause: Duration) -> bool {
        match self.probe_at {
            None => true,
            Some(at) if now >= at => {
                self.probe_at = Some(now + pause);
                true
            }
            Some(_) => false,
        }
    }

    /// What came of an attempt that ended at `now`. Only failures to reach the endpoint count:
    /// one that answers, whatever it answers, costs little.
    pub(crate) fn note(
        &mut self,
        report: &AttemptReport,
        now: Instant,
        limit: u32,
        pause: Duration,
    ) {
        let kind = report.failure.as_ref().map(|failure| failure.kind);
        if matches!(kind, Some(FailureKind::Timeout | FailureKind::Network | FailureKind::Tls)) {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= limit {
                self.probe_at = Some(now + pause);
            }
        } else {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AttemptFailure;

    const PAUSE: Duration = Duration::from_secs(15);

    fn report(kind: Option<FailureKind>) -> AttemptReport {
        AttemptReport {
            started_at: time::OffsetDateTime::UNIX_EPOCH,
            duration: Duration::ZERO,
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
        for _ in 0..3 {
            assert!(circuit.admits(now, PAUSE));
            circuit.note(&report(Some(FailureKind::Timeout)), now, 3, PAUSE);
        }
        assert!(!circuit.admits(now, PAUSE));
        assert!(circuit.admits(now + PAUSE, PAUSE), "the probe");
        assert!(!circuit.admits(now + PAUSE, PAUSE), "only one");
        circuit.note(&report(None), now + PAUSE, 3, PAUSE);
        assert!(circuit.admits(now + PAUSE, PAUSE), "closed again");
    }

    #[test]
    fn an_endpoint_that_answers_with_errors_keeps_its_circuit_closed() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for _ in 0..100 {
            circuit.note(&report(Some(FailureKind::Status)), now, 3, PAUSE);
        }
        assert!(circuit.admits(now, PAUSE));
    }
}
