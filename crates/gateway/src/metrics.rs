//! What operators count.

use telemetry::{Counter, KeyValue, UpDownCounter};

pub(crate) struct Metrics {
    sockets: UpDownCounter<i64>,
    sent: Counter<u64>,
    closed: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = telemetry::meter();
        Self {
            sockets: meter
                .i64_up_down_counter("gateway_sockets")
                .with_description("Open WebSockets")
                .build(),
            sent: meter
                .u64_counter("gateway_events_sent")
                .with_description("Events handed to connections")
                .build(),
            closed: meter
                .u64_counter("gateway_closes")
                .with_description("Connections closed by us, by code")
                .build(),
        }
    }

    pub(crate) fn opened(&self) {
        self.sockets.add(1, &[]);
    }

    pub(crate) fn left(&self) {
        self.sockets.add(-1, &[]);
    }

    pub(crate) fn sent(&self, count: u64) {
        self.sent.add(count, &[]);
    }

    pub(crate) fn closed(&self, code: u16) {
        self.closed.add(1, &[KeyValue::new("code", i64::from(code))]);
    }
}
