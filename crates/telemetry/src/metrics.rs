//! Metrics: made with the OpenTelemetry API, shown in the text format of Prometheus.
//!
//! No metric has a user, a webhook, an event or a URL as a label: their number is unbounded and
//! they are nobody else's business.

use std::sync::OnceLock;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

pub use opentelemetry::KeyValue;
pub use opentelemetry::metrics::{Counter, Gauge, Histogram, UpDownCounter};

struct Metrics {
    registry: Registry,
    meter: Meter,
    _provider: SdkMeterProvider,
}

fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()
            .expect("a fresh registry takes the exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("studio_webhooks");
        Metrics { registry, meter, _provider: provider }
    })
}

/// Where instruments are made. One for the process; there is nothing to set up before.
#[must_use]
pub fn meter() -> Meter {
    metrics().meter.clone()
}

/// Every metric, in the text format of Prometheus: the answer of `/metrics`.
#[must_use]
pub fn render() -> String {
    TextEncoder::new().encode_to_string(&metrics().registry.gather()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        meter().u64_counter("tests").build().add(2, &[KeyValue::new("kind", "unit")]);
        let text = render();
        let line =
            text.lines().find(|l| l.starts_with("tests_total{")).expect("the counter's line");
        assert!(line.contains(r#"kind="unit""#) && line.ends_with(" 2"), "{line}");
    }
}
