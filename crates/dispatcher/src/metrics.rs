//! What operators count.

use broker::Queue;
use domain::{AttemptReport, FailureKind};
use telemetry::{Counter, Histogram, KeyValue};

pub(crate) struct Metrics {
    taken: Counter<u64>,
    attempts: Counter<u64>,
    duration: Histogram<f64>,
    deferred: Counter<u64>,
    rejected: Counter<u64>,
    unmatched: Counter<u64>,
    duplicates: Counter<u64>,
    suspects: Counter<u64>,
    by_queue: [(Queue, [KeyValue; 1]); 2],
    by_result: Vec<(Option<FailureKind>, [KeyValue; 1])>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = telemetry::meter();
        let counter = |name: &'static str, text: &'static str| {
            meter.u64_counter(name).with_description(text).build()
        };
        let kinds = [
            FailureKind::Status,
            FailureKind::Redirect,
            FailureKind::Timeout,
            FailureKind::Network,
            FailureKind::Dns,
            FailureKind::Tls,
            FailureKind::BlockedAddress,
            FailureKind::Exhausted,
        ];
        let result = |kind: Option<FailureKind>| {
            (kind, [KeyValue::new("result", kind.map_or("success", FailureKind::as_str))])
        };
        Self {
            taken: counter("dispatcher_messages_taken", "Messages taken, by queue"),
            attempts: counter("delivery_attempts", "Attempts made, by result"),
            duration: meter
                .f64_histogram("delivery_attempt_duration")
                .with_unit("s")
                .with_boundaries(vec![
                    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                    30.0,
                ])
                .with_description("Time of an attempt, answer included")
                .build(),
            deferred: counter("deliveries_deferred", "Deliveries handed back to wait their turn"),
            rejected: counter("events_rejected", "Messages that are no event, by reason"),
            unmatched: counter("events_unmatched", "Events that no webhook wanted"),
            duplicates: counter("events_duplicate", "Copies of events, dropped"),
            suspects: counter("events_suspect", "Messages that came back often, worked on alone"),
            by_queue: [Queue::Dispatch, Queue::Deliver]
                .map(|queue| (queue, [KeyValue::new("queue", queue.to_string())])),
            by_result: kinds.map(Some).into_iter().chain([None]).map(result).collect(),
        }
    }

    pub(crate) fn taken(&self, queue: Queue) {
        if let Some((_, label)) = self.by_queue.iter().find(|(known, _)| *known == queue) {
            self.taken.add(1, label);
        }
    }

    pub(crate) fn attempt(&self, report: &AttemptReport) {
        let kind = report.failure.as_ref().map(|failure| failure.kind);
        if let Some((_, label)) = self.by_result.iter().find(|(known, _)| *known == kind) {
            self.attempts.add(1, label);
        }
        self.duration.record(report.duration.as_secs_f64(), &[]);
    }

    pub(crate) fn deferred(&self) {
        self.deferred.add(1, &[]);
    }

    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(crate) fn unmatched(&self) {
        self.unmatched.add(1, &[]);
    }

    pub(crate) fn suspect(&self) {
        self.suspects.add(1, &[]);
    }

    pub(crate) fn duplicate(&self) {
        self.duplicates.add(1, &[]);
    }
}
