//! Log lines and traces.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{LogFormat, TelemetryConfig, filter};

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
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            use std::io::IsTerminal;
            lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
    };
    let traces = tracer(service, config)?;
    let spans = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("studio_webhooks"))
            // What the exporter itself does must not be exported.
            .with_filter(filter_fn(|m| !m.target().starts_with("opentelemetry")))
    });
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|e| TelemetryError { key: "telemetry", message: e.to_string() })?;
    current.keep();
    Ok(Telemetry { traces })
}

fn tracer(
    service: &'static str,
    config: &TelemetryConfig,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if config.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&config.otlp_endpoint)
        .build()
        .map_err(|e| TelemetryError { key: "telemetry.otlp_endpoint", message: e.to_string() })?;
    let resource = Resource::builder().with_service_name(service).build();
    Ok(Some(
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build(),
    ))
}
