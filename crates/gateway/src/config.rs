//! Settings of the gateway.

use std::time::Duration;

use domain::setting;
use listener::Rules;
use serde::Deserialize;

use crate::outbox::Patience;
use crate::resume::Room;
use crate::ring::Bounds;

/// `[gateway]`, or `STUDIO__GATEWAY__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where it listens; `127.0.0.1:8081` by default. `all` serves it on the API's address.
    pub bind: String,
    /// Origins that browsers may connect from, separated by commas; any when empty, the default.
    #[serde(deserialize_with = "setting::texts")]
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed: those of the API.
    #[serde(skip)]
    pub trusted_proxies: access::Proxies,
    /// How long a connection may take nothing of what is sent to it before the kernel ends it:
    /// the API's `stalled_after`, 30 s by default.
    #[serde(skip)]
    pub unread_after: Duration,
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
    /// How long a connection may take nothing of what waits for it before it is closed as too
    /// slow (4002), found when more is to be sent; 10 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub stalled_after: Duration,
    /// Bytes that may wait for all connections of one worker thread; beyond, the one with most
    /// is closed (4002). 134,217,728 by default.
    #[serde(deserialize_with = "setting::number")]
    pub worker_queue_bytes: usize,
    /// Connections of the process, at most (503); 50,000 by default.
    #[serde(deserialize_with = "setting::number")]
    pub connections: usize,
    /// Connections of one user, at most (4502); 32 by default.
    #[serde(deserialize_with = "setting::number")]
    pub connections_per_user: usize,
    /// Connections of one address, at most (429); 4,096 by default, 0 for no limit. Behind a
    /// proxy that `api.trusted_proxies` does not name, all have the same address. Of IPv6, a /64
    /// is one address.
    #[serde(deserialize_with = "setting::number")]
    pub connections_per_address: usize,
    /// Projects that one connection may subscribe to; 100 by default.
    #[serde(deserialize_with = "setting::number")]
    pub subscriptions: usize,
    /// Largest message of a client, bytes (4501); 4,096 by default.
    #[serde(deserialize_with = "setting::number")]
    pub message_bytes: usize,
    /// Messages of a client in a second, with a burst of four times as many (4505); 10 by
    /// default.
    #[serde(deserialize_with = "setting::number")]
    pub messages_per_second: u32,
    /// Times in a second that the connections of one user may resume together (`since`,
    /// `Last-Event-ID`), with a burst of four times as many, or of twice `connections_per_user`
    /// where that is more (`RATE_LIMITED`, 429); 10 by default.
    #[serde(deserialize_with = "setting::number")]
    pub resumes_per_second: u32,
    /// How long an event is kept for clients that come back; 5 min by default.
    #[serde(deserialize_with = "setting::duration")]
    pub resume_age: Duration,
    /// Bytes that are kept for them, at most, with the index by which they are found (64 bytes
    /// an event); 67,108,864 by default.
    #[serde(deserialize_with = "setting::number")]
    pub resume_bytes: usize,
    /// Events that are kept for them, at most; 100,000 by default.
    #[serde(deserialize_with = "setting::number")]
    pub resume_events: usize,
    /// Events that one `subscribe` sends again, at most; beyond, the client is told to load its
    /// state afresh. 1,000 by default.
    #[serde(deserialize_with = "setting::number")]
    pub replay_events: usize,
    /// How long connections are given to leave when the process stops; 15 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub drain_for: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8081".into(),
            origins: Vec::new(),
            trusted_proxies: access::Proxies::default(),
            unread_after: Duration::from_secs(30),
            ping_every: Duration::from_secs(30),
            silent_after: Duration::from_secs(60),
            queue_bytes: 256 * 1024,
            stalled_after: Duration::from_secs(10),
            worker_queue_bytes: 128 * 1024 * 1024,
            connections: 50_000,
            connections_per_user: 32,
            connections_per_address: 4_096,
            subscriptions: 100,
            message_bytes: 4 * 1024,
            messages_per_second: 10,
            resumes_per_second: 10,
            resume_age: Duration::from_secs(5 * 60),
            resume_bytes: 64 * 1024 * 1024,
            resume_events: 100_000,
            replay_events: 1_000,
            drain_for: Duration::from_secs(15),
        }
    }
}

impl GatewayConfig {
    /// How often a worker looks after its connections.
    pub(crate) fn tick(&self) -> Duration {
        (self.ping_every.min(self.silent_after) / 30)
            .clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// The rules of the gateway's listener. A connection over the limit of its address is told
    /// so after the upgrade was asked for; twice as many are refused before.
    pub(crate) fn door(&self) -> Rules {
        Rules {
            name: "gateway",
            stalled_after: self.unread_after,
            per_address: self.connections_per_address.saturating_mul(2),
            setting: "twice gateway.connections_per_address",
            proxies: self.trusted_proxies.clone(),
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience { bytes: self.queue_bytes, without_progress: self.stalled_after }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { age: self.resume_age, bytes: self.resume_bytes, events: self.resume_events }
    }

    /// What may be sent again to a connection for which `waiting` bytes wait already.
    pub(crate) fn room(&self, waiting: usize) -> Room {
        // The answer goes out before.
        let bytes = self.queue_bytes.saturating_sub(waiting + 512);
        Room { events: self.replay_events, bytes }
    }
}
