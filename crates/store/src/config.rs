//! Settings of the store.

use std::time::Duration;

use domain::setting::{self, SecretText, SecretUrl};
use serde::Deserialize;

/// `[database]`, or `STUDIO__DATABASE__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://PATH` or `postgres://user:password@host/name`; `sqlite://studio-webhooks.db` by
    /// default.
    pub url: SecretUrl,
    /// Connections at most; 10 by default.
    #[serde(deserialize_with = "setting::number")]
    pub max_connections: u32,
    /// How long events, deliveries and attempts are kept; 30 days by default, 0 for ever. What
    /// has not ended is kept in any case.
    #[serde(deserialize_with = "setting::duration")]
    pub retention: Duration,
    /// How long the audit trail is kept; 365 days by default, 0 for ever.
    #[serde(deserialize_with = "setting::duration")]
    pub audit_retention: Duration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "sqlite://studio-webhooks.db".into(),
            max_connections: 10,
            retention: Duration::from_secs(30 * 24 * 3_600),
            audit_retention: Duration::from_secs(365 * 24 * 3_600),
        }
    }
}

/// `[secrets]`, or `STUDIO__SECRETS__…`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsConfig {
    /// `id:base64 of 32 bytes`, separated by commas. The first key encrypts webhook secrets at
    /// rest, all of them decrypt. Required.
    #[serde(deserialize_with = "setting::secrets")]
    pub keys: Vec<SecretText>,
    /// Whether values that an earlier release encrypted, which are not bound to their owner, are
    /// refused; `false` by default. `true` is right once `secrets list` shows none of them.
    #[serde(deserialize_with = "setting::boolean")]
    pub only_bound: bool,
}
