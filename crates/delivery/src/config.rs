//! Settings of the attempts.

use std::time::Duration;

use domain::setting;
use serde::Deserialize;

/// `[delivery]`, or `STUDIO__DELIVERY__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Networks that the address guard lets through, such as `127.0.0.0/8`, separated by
    /// commas; none by default.
    #[serde(deserialize_with = "setting::texts")]
    pub allow_networks: Vec<String>,
    /// Networks that the guard refuses beside the special ranges; `168.63.129.16/32` (a cloud's
    /// metadata service) by default.
    #[serde(deserialize_with = "setting::texts")]
    pub deny_networks: Vec<String>,
    /// Whether endpoints must be https; `false` by default.
    #[serde(deserialize_with = "setting::boolean")]
    pub require_https: bool,
    /// The DNS servers that are asked for endpoints' names, such as `10.0.0.2:53`, separated by
    /// commas; the system's (`/etc/resolv.conf`) by default. Answers are kept for their TTL,
    /// between 1 s and 5 min.
    #[serde(deserialize_with = "setting::texts")]
    pub dns_servers: Vec<String>,
    /// The waits before attempts 2, 3, …; `1m,5m,30m,2h` by default. Each has a queue.
    #[serde(deserialize_with = "setting::durations")]
    pub retry_delays: Vec<Duration>,
    /// Longest time of an attempt, from connecting to the end of the answer; 30 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub timeout: Duration,
    /// Longest time to connect, TLS included; 5 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub connect_timeout: Duration,
    /// Idle connections kept open to one host; 512 by default.
    #[serde(deserialize_with = "setting::number")]
    pub idle_per_host: usize,
    /// Idle connections kept open, at most, and no more than a quarter of the files that the process
    /// may open; 4,096 by default.
    #[serde(deserialize_with = "setting::number")]
    pub idle_in_all: usize,
    /// How long an idle connection is kept; 60 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub idle_timeout: Duration,
    /// How much of an answer is read, in bytes, before the connection is given up; 65,536 by
    /// default.
    #[serde(deserialize_with = "setting::number")]
    pub max_response_bytes: usize,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            deny_networks: vec!["168.63.129.16/32".into()],
            require_https: false,
            dns_servers: Vec::new(),
            retry_delays: domain::Schedule::default().delays().to_vec(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_per_host: 512,
            idle_in_all: 4_096,
            idle_timeout: Duration::from_secs(60),
            max_response_bytes: 64 * 1024,
        }
    }
}

/// A setting of the attempts is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct DeliveryConfigError {
    /// The setting, such as `delivery.allow_networks`.
    pub key: &'static str,
    /// What is wrong and what is expected.
    pub message: String,
}
