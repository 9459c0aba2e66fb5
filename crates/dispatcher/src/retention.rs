//! Removes what is older than the store keeps it, a little at a time and with pauses, so that
//! deliveries are not disturbed. One process at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Step, StoreError};
use telemetry::{Counter, Histogram};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Context;

/// Who removes keeps the lease for this long, and renews it when half of that has passed.
const LEASE: Duration = Duration::from_secs(60);

/// The least pause between two steps. A step that took longer is followed by as long a pause:
/// half of the time, at most, is spent removing.
const PAUSE: Duration = Duration::from_millis(10);

struct Removal {
    holder: String,
    removed: Counter<u64>,
    took: Histogram<f64>,
}

/// Looks every `period` for what is older than `age`, until the stop.
pub(crate) async fn run(context: Arc<Context>, age: Duration, period: Duration) {
    let meter = telemetry::meter();
    let removal = Removal {
        holder: Uuid::now_v7().to_string(),
        removed: meter
            .u64_counter("deliveries_removed")
            .with_description("Deliveries removed because of their age")
            .build(),
        took: meter
            .f64_histogram("retention_step_duration")
            .with_unit("s")
            .with_boundaries(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5])
            .with_description("Time of one step that removes old deliveries")
            .build(),
    };
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        match removal.round(&context, age).await {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} deliveries were removed because of their age"),
            Err(error) => tracing::warn!("old deliveries were not all removed: {error}"),
        }
    }
}

impl Removal {
    async fn round(&self, context: &Context, age: Duration) -> Result<u64, StoreError> {
        let store = &context.store;
        let mut count = 0;
        if !store.acquire_lease("retention", &self.holder, LEASE).await? {
            return Ok(0);
        }
        let mut leased = Instant::now();
        let mut round = store.retention(OffsetDateTime::now_utc() - age).await?;
        loop {
            if leased.elapsed() > LEASE / 2 {
                if !store.acquire_lease("retention", &self.holder, LEASE).await? {
                    return Ok(count);
                }
                leased = Instant::now();
            }
            let began = Instant::now();
            match store.remove_old(&mut round).await? {
                Step::Done => return Ok(count),
                Step::Removed(removed) => {
                    count += removed;
                    self.removed.add(removed, &[]);
                }
            }
            let took = began.elapsed();
            self.took.record(took.as_secs_f64(), &[]);
            tokio::select! {
                () = context.stop.cancelled() => return Ok(count),
                () = tokio::time::sleep(took.max(PAUSE)) => {}
            }
        }
    }
}
