//! What operators count.

use telemetry::{Counter, Gauge, KeyValue, UpDownCounter};

use crate::entry::Form;

/// The gateway's instruments.
pub(crate) struct Metrics {
    connections: UpDownCounter<i64>,
    read: Counter<u64>,
    told: Counter<u64>,
    closed: Counter<u64>,
    resumed: Counter<u64>,
    resumes_refused: Counter<u64>,
    refused: Counter<u64>,
    waiting: Gauge<u64>,
    kept_events: Gauge<u64>,
    kept_bytes: Gauge<u64>,
}

fn form_label(form: Form) -> KeyValue {
    KeyValue::new("form", if form == Form::Socket { "websocket" } else { "sse" })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = telemetry::meter();
        let counter = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_description(description).build()
        };
        let gauge = |name: &'static str, description: &'static str| {
            meter.u64_gauge(name).with_description(description).build()
        };
        Self {
            connections: meter
                .i64_up_down_counter("gateway_connections")
                .with_description("Open connections")
                .build(),
            read: counter("gateway_events_read", "Events of the history, each encoded once"),
            told: counter("gateway_events_told", "Events handed to connections"),
            closed: counter(
                "gateway_closes",
                "Connections that ended, by close code; 0 when the client left",
            ),
            resumed: counter("gateway_resumes", "Subscriptions with `since`, by their success"),
            resumes_refused: counter(
                "gateway_resumes_refused",
                "Subscriptions with `since` that were refused: their user resumes too often",
            ),
            refused: counter("gateway_refusals", "Connections refused, by HTTP status"),
            waiting: gauge("gateway_waiting_bytes", "Bytes that wait for clients, by worker"),
            kept_events: gauge("gateway_ring_events", "Events kept for clients that come back"),
            kept_bytes: gauge("gateway_ring_bytes", "Bytes kept for clients that come back"),
        }
    }

    pub(crate) fn opened(&self, form: Form) {
        self.connections.add(1, &[form_label(form)]);
    }

    pub(crate) fn left(&self, form: Form, code: u16) {
        self.connections.add(-1, &[form_label(form)]);
        self.closed(code);
    }

    pub(crate) fn closed(&self, code: u16) {
        self.closed.add(1, &[KeyValue::new("code", i64::from(code))]);
    }

    pub(crate) fn refused(&self, status: u16) {
        self.refused.add(1, &[KeyValue::new("status", i64::from(status))]);
    }

    pub(crate) fn read(&self, events: usize) {
        self.read.add(count(events), &[]);
    }

    pub(crate) fn told(&self, events: u64) {
        if events > 0 {
            self.told.add(events, &[]);
        }
    }

    pub(crate) fn resumed(&self, recovered: bool) {
        self.resumed.add(1, &[KeyValue::new("recovered", recovered)]);
    }

    pub(crate) fn resume_refused(&self) {
        self.resumes_refused.add(1, &[]);
    }

    pub(crate) fn waiting(&self, worker: usize, bytes: usize) {
        let worker = i64::try_from(worker).unwrap_or(i64::MAX);
        self.waiting.record(count(bytes), &[KeyValue::new("worker", worker)]);
    }

    pub(crate) fn kept(&self, events: usize, bytes: usize) {
        self.kept_events.record(count(events), &[]);
        self.kept_bytes.record(count(bytes), &[]);
    }
}
