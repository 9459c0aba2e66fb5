//! What is in use of each limit, for operators' graphs: every few seconds, so that no hot path
//! counts for it.

use std::sync::Arc;
use std::time::Duration;

use telemetry::{Gauge, KeyValue};

use crate::Context;

/// How often they are read.
const EVERY: Duration = Duration::from_secs(2);

struct Gauges {
    used: Gauge<u64>,
    limit: Gauge<u64>,
    known: Gauge<u64>,
    drained: Gauge<u64>,
}

/// Reads them until the stop.
pub(crate) async fn run(context: Arc<Context>) {
    let meter = telemetry::meter();
    let gauge = |name: &'static str, text: &'static str| {
        meter.u64_gauge(name).with_description(text).build()
    };
    let gauges = Gauges {
        used: gauge("dispatcher_room_used", "What is in use of each room that users share"),
        limit: gauge("dispatcher_room_limit", "How large each room is"),
        known: gauge("dispatcher_known_webhooks", "Webhooks whose answers are remembered"),
        drained: gauge("dispatcher_backlogs_drained", "Backlogs that this dispatcher drains"),
    };
    loop {
        gauges.read(&context);
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

impl Gauges {
    fn read(&self, context: &Context) {
        let rooms = context.slots.rooms_used();
        for (room, (used, limit)) in rooms.into_iter().chain(context.backlogs.rooms_used()) {
            let label = [KeyValue::new("room", room)];
            self.used.record(used as u64, &label);
            self.limit.record(limit as u64, &label);
        }
        self.known.record(context.slots.known() as u64, &[]);
        self.drained.record(context.backlogs.held() as u64, &[]);
    }
}
