//! What operators see of the API: requests by route and status, and how long they took.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use telemetry::{Histogram, KeyValue};

static DURATION: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    telemetry::meter()
        .f64_histogram("api_request_duration")
        .with_unit("s")
        .with_description("Requests to the API: how long they took, by route and status")
        .with_boundaries(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0])
        .build()
});

/// Requests that have begun and have no answer yet.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// A request under way, until this is dropped.
pub(crate) struct UnderWay(());

impl UnderWay {
    pub(crate) fn begin() -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many requests are under way in this process.
pub(crate) fn under_way() -> usize {
    UNDER_WAY.load(Ordering::Relaxed)
}

/// Counts one request. `route` is the pattern of the path, never the path: there are few
/// patterns and endless paths.
pub(crate) fn count(method: &str, route: &str, status: u16, took: Duration) {
    // A method that we do not know would be a label that anybody can choose.
    let method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other");
    let labels = [
        KeyValue::new("method", method),
        KeyValue::new("route", route.to_owned()),
        KeyValue::new("status", i64::from(status)),
    ];
    DURATION.record(took.as_secs_f64(), &labels);
}
