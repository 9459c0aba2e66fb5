//! The process has no file descriptor left for another connection.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is said.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Says that connections are lacking, and does not repeat it for every delivery.
#[derive(Debug, Default)]
pub(crate) struct Exhaustion(Mutex<Option<Instant>>);

impl Exhaustion {
    /// Warns, unless it did so a moment ago.
    pub(crate) fn warn(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() >= AGAIN_AFTER) {
            *last = Some(Instant::now());
            tracing::warn!(
                "deliveries are put off: no file descriptors (or local ports) for more \
                 connections; raise the limit (ulimit -n, LimitNOFILE) or lower \
                 dispatcher.concurrency and dispatcher.slow_requests"
            );
        }
    }
}
