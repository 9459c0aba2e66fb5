//! Settings of the gateway.

use std::time::Duration;

use domain::setting;
use serde::Deserialize;

/// `[gateway]`, or `STUDIO__GATEWAY__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where it listens; `127.0.0.1:8081` by default. `all` serves it on the API's address.
    pub bind: String,
    /// How often a ping frame is sent; 30 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub ping_every: Duration,
    /// A peer that has been silent for this long is closed (4003); 60 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub silent_after: Duration,
    /// Bytes that may wait for one connection before it is closed as too slow (4002); 262,144
    /// by default.
    #[serde(deserialize_with = "setting::number")]
    pub queue_bytes: usize,
    /// Connections of one user, at most; 32 by default.
    #[serde(deserialize_with = "setting::number")]
    pub connections_per_user: usize,
    /// Projects that one connection may subscribe to; 100 by default.
    #[serde(deserialize_with = "setting::number")]
    pub subscriptions: usize,
    /// Largest message of a client, bytes; 4,096 by default.
    #[serde(deserialize_with = "setting::number")]
    pub message_bytes: usize,
    /// Messages of a client in a second; 10 by default, with a burst of four times as many.
    #[serde(deserialize_with = "setting::number")]
    pub messages_per_second: u32,
    /// Origins that browsers may connect from, separated by commas; any when empty, the default.
    #[serde(deserialize_with = "setting::texts")]
    pub origins: Vec<String>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8081".into(),
            ping_every: Duration::from_secs(30),
            silent_after: Duration::from_secs(60),
            queue_bytes: 256 * 1024,
            connections_per_user: 32,
            subscriptions: 100,
            message_bytes: 4 * 1024,
            messages_per_second: 10,
            origins: Vec::new(),
        }
    }
}
