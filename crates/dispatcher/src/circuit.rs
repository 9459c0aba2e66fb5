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
    /// Since when it lets only probes through.
    pub(crate) fn open_since(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.since)
    }

    /// Opens it: somebody else has found that the endpoint has not answered `since` then.
    pub(crate) fn open(&mut self, since: Instant) {
        if self.open.is_none() {
            self.failures = 1;
            self.open = Some(Open { since, probe_at: since });
        }
    }

    /// Whether an attempt may be made at `now`.
    ///
    /// # Errors
    /// When the next one may, where an open circuit lets none through.
    pub(crate) fn admits(&self, now: Instant) -> Result<(), Instant> {
        match &self.open {
            Some(open) if now < open.probe_at => Err(open.probe_at),
            _ => Ok(()),
        }
    }

    /// An attempt is made at `now`: an open circuit lets the next one through after a pause.
    pub(crate) fn goes(&mut self, now: Instant, pause: Duration) {
        if let Some(open) = &mut self.open {
            open.probe_at = now + pause;
        }
    }

    /// What came of an attempt that ended at `now`. Failures that took their time count, whatever
    /// their kind: each held a connection for as long. One that comes at once costs little.
    pub(crate) fn note(
        &mut self,
        report: &AttemptReport,
        now: Instant,
        limit: u32,
        pause: Duration,
    ) {
        let slow = |kind| kind == FailureKind::Timeout || report.duration >= SLOW;
        if !report.failure.as_ref().is_some_and(|failure| slow(failure.kind)) {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limit {
            let since = self.open.as_ref().map_or(now, |open| open.since);
            let probe_at = self.open.as_ref().map_or(now, |open| open.probe_at);
            self.open = Some(Open { since, probe_at: probe_at.max(now + pause) });
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
            assert_eq!(circuit.admits(now), Ok(()));
            circuit.note(&silent, now, 3, PAUSE);
        }
        assert_eq!(circuit.admits(now), Err(now + PAUSE));
        assert_eq!(circuit.admits(now + PAUSE), Ok(()), "the probe");
        circuit.goes(now + PAUSE, PAUSE);
        assert_eq!(circuit.admits(now + PAUSE), Err(now + 2 * PAUSE), "only one");
        circuit.note(&silent, now + PAUSE, 3, PAUSE);
        assert_eq!(circuit.open_since(), Some(now), "open since the beginning");
        circuit.note(&report(None, Duration::ZERO), now + PAUSE, 3, PAUSE);
        assert_eq!(circuit.admits(now + PAUSE), Ok(()), "closed again");
    }

    #[test]
    fn slow_failures_of_every_kind_count() {
        use FailureKind::{Dns, Network, Status, Tls};
        for kind in [Status, Network, Tls, Dns, FailureKind::Redirect] {
            let (mut circuit, now) = (Circuit::default(), Instant::now());
            for _ in 0..3 {
                circuit.note(&report(Some(kind), Duration::from_secs(29)), now, 3, PAUSE);
            }
            assert!(circuit.open_since().is_some(), "{kind}");
        }
    }

    #[test]
    fn an_endpoint_that_fails_at_once_keeps_its_circuit_closed() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for kind in [FailureKind::Status, FailureKind::Network, FailureKind::Tls] {
            for _ in 0..100 {
                circuit.note(&report(Some(kind), Duration::from_millis(5)), now, 3, PAUSE);
            }
            assert_eq!(circuit.admits(now), Ok(()), "{kind}");
        }
    }
}
