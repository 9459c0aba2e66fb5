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

/// Deliveries removed in a second, at most, for as long as a round is not [`BEHIND`]: each touches
/// pages of its own, and whoever records meanwhile waits for the disk with it.
const RATE: u32 = 1_000;

/// A round that takes longer is followed by more than can be removed at that rate.
const BEHIND: Duration = Duration::from_secs(3_600);

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
        let (mut leased, began_round) = (Instant::now(), Instant::now());
        let mut round = store.retention(OffsetDateTime::now_utc() - age).await?;
        loop {
            if leased.elapsed() > LEASE / 2 {
                if !store.acquire_lease("retention", &self.holder, LEASE).await? {
                    return Ok(count);
                }
                leased = Instant::now();
            }
            let began = Instant::now();
            let Step::Removed(removed) = store.remove_old(&mut round).await? else {
                return Ok(count);
            };
            let took = began.elapsed();
            count += removed;
            self.removed.add(removed, &[]);
            self.took.record(took.as_secs_f64(), &[]);
            round.pace(took);
            let pause = pause(took, removed, began_round.elapsed() > BEHIND);
            tokio::select! {
                () = context.stop.cancelled() => return Ok(count),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// How long nothing is removed after a step: at least half of the time.
fn pause(took: Duration, removed: u64, behind: bool) -> Duration {
    let share = Duration::from_secs_f64(removed as f64 / f64::from(RATE));
    if behind { took } else { share.saturating_sub(took).max(took) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_keeps_to_its_rate_until_it_is_behind_and_rests_half_of_the_time() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(5), 50, false), ms(45));
        assert_eq!(pause(ms(40), 50, false), ms(40));
        assert_eq!(pause(ms(5), 50, true), ms(5));
        assert_eq!(pause(ms(2), 0, false), ms(2));
    }
}
