//! What operators see: log lines, traces and metrics.

mod config;
mod export;
mod filter;
mod logs;
mod metrics;
mod panics;
mod targets;

pub use config::{LogFormat, TelemetryConfig};
pub use filter::{log_filter, set_log_filter, set_log_level};
pub use logs::{Telemetry, TelemetryError, init};
pub use metrics::{Counter, Gauge, Histogram, KeyValue, UpDownCounter, meter, render};
pub use panics::tell_panics_without_values;
