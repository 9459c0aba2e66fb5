//! Settings of the API.

use std::time::Duration;

use access::Proxies;
use domain::setting;
use listener::Rules;
use serde::Deserialize;

use crate::cors::Origins;

/// `[api]`, or `STUDIO__API__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Where it listens; `127.0.0.1:8080` by default.
    pub bind: String,
    /// Requests of one user in a minute; 100 by default, 0 switches every rate limit off.
    /// Publishing events is not counted.
    #[serde(deserialize_with = "setting::number")]
    pub rate_limit: u32,
    /// Redeliveries and replays that one user may ask for in a minute; 60 by default, 0 for no
    /// limit.
    #[serde(deserialize_with = "setting::number")]
    pub redelivery_limit: u32,
    /// Wrong tokens from one address in a minute (of IPv6, one /64), before 401 becomes 429; 60
    /// by default, 0 for no limit.
    #[serde(deserialize_with = "setting::number")]
    pub wrong_token_limit: u32,
    /// Proxies whose `X-Forwarded-For` is believed: networks such as `10.0.0.0/8`, separated by
    /// commas; none by default.
    pub trusted_proxies: Proxies,
    /// Connections of one address at a time (of IPv6, one /64), those of `trusted_proxies` not
    /// counted; what is over is refused (429). 4,096 by default, 0 for no limit.
    #[serde(deserialize_with = "setting::number")]
    pub connections_per_address: usize,
    /// How long a connection may take nothing of what is sent to it before it is ended; 30 s by
    /// default. Counts for every listener of every service.
    #[serde(deserialize_with = "setting::duration")]
    pub stalled_after: Duration,
    /// Pages that browsers may call the API from: origins such as `https://studio.example`,
    /// separated by commas; none by default.
    pub origins: Origins,
    /// Webhooks of one user; 100 by default, 0 for no limit.
    #[serde(deserialize_with = "setting::number")]
    pub max_webhooks: u64,
    /// Idempotency keys of one user that are kept; 100,000 by default, 0 for no limit.
    /// Beyond, the oldest are forgotten before their 24 hours are over.
    #[serde(deserialize_with = "setting::number")]
    pub idempotency_keys: u64,
    /// Bytes of kept answers of one user, with their keys; 16 MiB (16777216) by default, 0 for no
    /// limit. Beyond, the oldest are forgotten before their 24 hours are over.
    #[serde(deserialize_with = "setting::number")]
    pub idempotency_bytes: u64,
    /// Bytes of answers about webhooks that are kept for as long as nothing is written, a second
    /// at most, about; 8 MiB (8388608) by default, 0 keeps none. Without effect on PostgreSQL.
    #[serde(deserialize_with = "setting::number")]
    pub kept_answers: u64,
    /// Whether the endpoint of a new webhook, or of one whose URL leads to another host now, has
    /// to prove first that it wants to be told; `false` by default. Webhooks that are there when
    /// it is switched on stay as they are.
    #[serde(deserialize_with = "setting::boolean")]
    pub verify_endpoints: bool,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8080".into(),
            rate_limit: 100,
            redelivery_limit: 60,
            wrong_token_limit: 60,
            trusted_proxies: Proxies::default(),
            connections_per_address: 4_096,
            stalled_after: Duration::from_secs(30),
            origins: Origins::default(),
            max_webhooks: 100,
            idempotency_keys: 100_000,
            idempotency_bytes: 16 * 1024 * 1024,
            kept_answers: 8 * 1024 * 1024,
            verify_endpoints: false,
        }
    }
}

impl ApiConfig {
    /// The rules of the API's listener.
    #[must_use]
    pub fn door(&self) -> Rules {
        Rules {
            name: "api",
            stalled_after: self.stalled_after,
            per_address: self.connections_per_address,
            setting: "api.connections_per_address",
            proxies: self.trusted_proxies.clone(),
        }
    }
}
