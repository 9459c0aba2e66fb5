//! Settings of telemetry.

use domain::setting::SecretUrl;
use serde::Deserialize;

/// `[telemetry]`, or `STUDIO__TELEMETRY__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged, in the syntax of `RUST_LOG`: `info` by default. Of libraries only some
    /// warnings are, whatever it says.
    pub filter: String,
    /// How a log line looks: `text` (the default) or `json`.
    pub format: LogFormat,
    /// Where traces go: an OTLP/HTTP endpoint such as `http://collector:4318/v1/traces`, with
    /// `user:password@` before the host where it asks for them. Empty by default: nowhere.
    pub otlp_endpoint: SecretUrl,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text, otlp_endpoint: SecretUrl::default() }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}
