//! What operators see: log lines, traces and metrics.

mod config;
mod logs;
mod metrics;

pub use config::{LogFormat, TelemetryConfig};
pub use logs::{Telemetry, TelemetryError, init};
pub use metrics::{Counter, Gauge, Histogram, KeyValue, UpDownCounter, meter, render};
