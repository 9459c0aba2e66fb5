//! Removes what is older than the audit trail is kept, a little at a time and with pauses. One
//! process at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::StoreError;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Context;

/// Who removes keeps the lease for this long; a step takes far less.
const LEASE: Duration = Duration::from_secs(60);

/// The shortest pause between two steps.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks every `period` for what is older than `age`, until the stop.
pub(crate) async fn run(context: Arc<Context>, age: Duration, period: Duration) {
    let holder = Uuid::now_v7().to_string();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        match round(&context, &holder, age).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!("{count} rows of the audit trail were removed because of their age");
            }
            Err(error) => {
                tracing::warn!("old rows of the audit trail were not all removed: {error}");
            }
        }
    }
}

async fn round(context: &Context, holder: &str, age: Duration) -> Result<u64, StoreError> {
    let before = OffsetDateTime::now_utc() - age;
    let mut count = 0;
    while context.store.acquire_lease("audit_retention", holder, LEASE).await? {
        let began = Instant::now();
        let removed = context.store.remove_old_audit(before).await?;
        count += removed;
        if removed == 0 {
            break;
        }
        // Half of the time at least is for others.
        tokio::select! {
            () = context.stop.cancelled() => break,
            () = tokio::time::sleep(began.elapsed().max(PAUSE)) => {}
        }
    }
    Ok(count)
}
