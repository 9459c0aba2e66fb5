//! Log lines and traces.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{LogFormat, TelemetryConfig, export, filter, targets};

/// Telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {message}")]
pub struct TelemetryError {
    /// The setting, such as `telemetry.filter`.
    pub key: &'static str,
    /// What is wrong and what is expected.
    pub message: String,
}

/// Keeps telemetry alive; [`Telemetry::shutdown`] sends what is left.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the traces that are left, within 5 s. Blocks: call it after everything else.
    pub fn shutdown(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown_with_timeout(std::time::Duration::from_secs(5))
        {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }
}

/// Begins logging to standard error, and tracing where an endpoint is configured.
///
/// # Errors
/// [`TelemetryError`] when the filter or the endpoint cannot be read.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let (filter, current) = filter::begin(&config.filter)?;
    // Whatever the filter says. It may be as detailed as it likes: who decides is cached by line.
    let may_be_logged = filter_fn(targets::may_be_logged).with_max_level_hint(LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            use std::io::IsTerminal;
            lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
    };
    let traces = export::to_collector(service, &config.otlp_endpoint)?;
    let spans = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("studio_webhooks"))
            .with_filter(filter_fn(targets::may_be_exported).with_max_level_hint(LevelFilter::INFO))
    });
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(lines.with_filter(may_be_logged.and(filter)))
        .with(spans)
        .try_init()
        .map_err(|e| TelemetryError { key: "telemetry", message: e.to_string() })?;
    current.keep();
    Ok(Telemetry { traces })
}
