//! Settings of the broker.

use std::time::Duration;

use domain::setting::{self, SecretUrl};
use serde::Deserialize;

/// `[broker]`, or `STUDIO__BROKER__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// `embedded://PATH` (a SQLite file) or `amqp://user:password@host:5672/vhost`; `amqps` for
    /// TLS. `embedded://studio-queues.db` by default.
    pub url: SecretUrl,
    /// Whether exchanges and queues are declared; `false` only checks that they are there, for
    /// operators who own the topology. `true` by default.
    #[serde(deserialize_with = "setting::boolean")]
    pub declare: bool,
    /// How long a publish waits for its confirm; 5 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub publish_timeout: Duration,
    /// Connections for publishing; 1 by default, 16 at most.
    #[serde(deserialize_with = "setting::number")]
    pub publish_connections: u16,
    /// How long the history keeps events; 24 h by default.
    #[serde(deserialize_with = "setting::duration")]
    pub history_age: Duration,
    /// How much the history keeps, in bytes; 1 GiB by default.
    #[serde(deserialize_with = "setting::number")]
    pub history_bytes: u64,
    /// The delays of the delivery schedule: filled in from `delivery.retry_delays`, because
    /// each delay has a queue. No key of its own.
    #[serde(skip)]
    pub retry_delays: Vec<Duration>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            url: "embedded://studio-queues.db".into(),
            declare: true,
            publish_timeout: Duration::from_secs(5),
            publish_connections: 1,
            history_age: Duration::from_secs(24 * 3_600),
            history_bytes: 1 << 30,
            retry_delays: domain::Schedule::default().delays().to_vec(),
        }
    }
}
