//! Traces on their way to a collector, whose address may hold credentials: libraries see it, and
//! nothing of what they say about it is passed on.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::setting::SecretUrl;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::TelemetryError;

const KEY: &str = "telemetry.otlp_endpoint";

const EXPECTED: &str = "expected an OTLP/HTTP endpoint such as http://collector:4318/v1/traces (what was found is \
     not shown)";

/// Sends spans to `endpoint`; `None` when it is empty.
///
/// # Errors
/// [`TelemetryError`] when it is no URL that can be called.
pub(crate) fn to_collector(
    service: &'static str,
    endpoint: &SecretUrl,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if endpoint.expose().trim().is_empty() {
        return Ok(None);
    }
    let wrong = |message: String| TelemetryError { key: KEY, message };
    let (url, headers) = address(endpoint.expose().trim()).map_err(wrong)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_headers(headers)
        .build()
        // Not the error: it repeats what it was given.
        .map_err(|_| wrong(format!("{}: no exporter can be made for it", endpoint.shown())))?;
    let exporter =
        Discreet { exporter, collector: endpoint.shown(), failing: AtomicBool::new(false) };
    let resource = Resource::builder().with_service_name(service).build();
    Ok(Some(
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build(),
    ))
}

/// The URL without user name and password, and the header that holds them.
fn address(text: &str) -> Result<(String, HashMap<String, String>), String> {
    let mut url = Url::parse(text).map_err(|error| format!("{EXPECTED}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(EXPECTED.to_owned());
    }
    let mut headers = HashMap::new();
    if !url.username().is_empty() || url.password().is_some() {
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let password = decoded(url.password().unwrap_or_default());
        let credentials = format!("{}:{password}", decoded(url.username()));
        headers
            .insert("authorization".to_owned(), format!("Basic {}", STANDARD.encode(credentials)));
        let bare = url.set_username("").and_then(|()| url.set_password(None));
        bare.map_err(|()| EXPECTED.to_owned())?;
    }
    Ok((url.into(), headers))
}

/// An exporter whose errors repeat nothing: those of HTTP clients hold the URL. It says itself when
/// the collector does not take what is sent, and when it takes it again.
struct Discreet {
    exporter: SpanExporter,
    /// The part of its address that may be shown.
    collector: String,
    failing: AtomicBool,
}

impl fmt::Debug for Discreet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discreet").field("collector", &self.collector).finish_non_exhaustive()
    }
}

impl Discreet {
    fn note(&self, result: &OTelSdkResult) {
        let failing = result.is_err();
        if self.failing.swap(failing, Ordering::Relaxed) == failing {
            return;
        }
        if failing {
            tracing::warn!(
                "the collector at {} does not take traces, which are dropped: is it running, and is \
                 telemetry.otlp_endpoint (STUDIO__TELEMETRY__OTLP_ENDPOINT) right?",
                self.collector
            );
        } else {
            tracing::info!("the collector at {} takes traces again", self.collector);
        }
    }
}

fn without_words(result: OTelSdkResult) -> OTelSdkResult {
    result.map_err(|error| match error {
        OTelSdkError::InternalFailure(_) => {
            OTelSdkError::InternalFailure("the collector did not take them".to_owned())
        }
        other => other,
    })
}

impl opentelemetry_sdk::trace::SpanExporter for Discreet {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        self.note(&result);
        without_words(result)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        without_words(self.exporter.shutdown_with_timeout(timeout))
    }

    fn shutdown(&self) -> OTelSdkResult {
        without_words(self.exporter.shutdown())
    }

    fn force_flush(&self) -> OTelSdkResult {
        without_words(self.exporter.force_flush())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url_and_stand_in_a_header() {
        let (url, headers) = address("https://me:hun%40ter2@otlp.example/v1/traces?a=b").unwrap();
        assert_eq!(url, "https://otlp.example/v1/traces?a=b");
        let expected = format!("Basic {}", STANDARD.encode("me:hun@ter2"));
        assert_eq!(headers["authorization"], expected);
        assert!(address("http://collector:4318/v1/traces").unwrap().1.is_empty());
    }

    #[test]
    fn an_endpoint_that_is_none_is_not_repeated() {
        for wrong in ["hunter2", "ftp://hunter2/", "http://me:hunter2@host:port/", "me:hunter2@h:1"]
        {
            let error = to_collector("test", &wrong.into()).unwrap_err().to_string();
            assert!(error.starts_with("telemetry.otlp_endpoint: ") && !error.contains("hunter2"));
        }
    }
}
