//! Settings of the API.

use domain::setting;
use serde::Deserialize;

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
    /// Webhooks of one user; 100 by default, 0 for no limit.
    #[serde(deserialize_with = "setting::number")]
    pub max_webhooks: u64,
    /// Idempotency keys of one user that are kept, about; 100,000 by default, 0 for no limit.
    /// Beyond, the oldest are forgotten before their 24 hours are over.
    #[serde(deserialize_with = "setting::number")]
    pub idempotency_keys: u64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8080".into(),
            rate_limit: 100,
            max_webhooks: 100,
            idempotency_keys: 100_000,
        }
    }
}
