//! Settings of the dispatcher.

use std::time::Duration;

use domain::setting;
use serde::Deserialize;

/// `[dispatcher]`, or `STUDIO__DISPATCHER__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DispatcherConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` are served; `127.0.0.1:8082` by default.
    pub bind: String,
    /// Threads of `studio-webhooks dispatcher`, 512 at most; 0, the default, is half as many as
    /// there are processors, and at least one: broker and database work beside it.
    #[serde(deserialize_with = "setting::number")]
    pub threads: usize,
    /// Events taken and not finished, at most; 1,024 by default.
    #[serde(deserialize_with = "setting::number")]
    pub prefetch: u16,
    /// Retries, redeliveries and handed-back work taken and not finished, at most; 256 by
    /// default.
    #[serde(deserialize_with = "setting::number")]
    pub deliver_prefetch: u16,
    /// Requests of first attempts under way, at most; 384 by default.
    #[serde(deserialize_with = "setting::number")]
    pub concurrency: usize,
    /// Requests of retries and redeliveries under way, at most, beside those; 128 by default.
    #[serde(deserialize_with = "setting::number")]
    pub retry_concurrency: usize,
    /// Requests to one webhook under way, at most, however well its endpoint takes them; 512 by
    /// default. How many it is given is found from its own answers.
    #[serde(deserialize_with = "setting::number")]
    pub per_webhook: usize,
    /// Requests to one host under way, at most, whichever webhooks they are for, shared out evenly
    /// among users; so many connections to it there are, too. 512 by default.
    #[serde(deserialize_with = "setting::number")]
    pub per_host: usize,
    /// Requests that have taken over 250 ms, or are to endpoints that are not quick, at most, shared
    /// out evenly among users; 3,072 by default. Each holds a connection. Half of them are for
    /// endpoints that answer, a quarter for those that nothing is known of yet, and a quarter for
    /// those that did not answer.
    #[serde(deserialize_with = "setting::number")]
    pub slow_requests: usize,
    /// Time-outs and failures that took over a second in a row after which a webhook's circuit opens;
    /// 8 by default.
    #[serde(deserialize_with = "setting::number")]
    pub circuit_failures: u32,
    /// How long an open circuit waits before it lets a probe through; 15 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub circuit_pause: Duration,
    /// How long a delivery may outlive its schedule while its endpoint does not answer, before it
    /// ends as failed; 24 h by default.
    #[serde(deserialize_with = "setting::duration")]
    pub give_up_after: Duration,
    /// How long a dispatcher that is gone keeps the backlogs that it drained; 10 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub backlog_lease: Duration,
    /// Bytes of deliveries that are read from backlogs and wait in memory, at most; 32 MiB by
    /// default.
    #[serde(deserialize_with = "setting::number")]
    pub backlog_bytes: usize,
    /// How long outcomes are gathered into one transaction; 20 ms by default. A shorter time makes
    /// the database's disk busier, which others wait for; after a kill, attempts of this last time
    /// are made again.
    #[serde(deserialize_with = "setting::duration")]
    pub record_linger: Duration,
    /// Outcomes in one transaction, at most; 500 by default.
    #[serde(deserialize_with = "setting::number")]
    pub record_batch: usize,
    /// How long a user's webhooks are remembered when no change is announced; 30 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub cache_age: Duration,
    /// Users whose webhooks are remembered, at most; 100,000 by default.
    #[serde(deserialize_with = "setting::number")]
    pub cache_users: u64,
    /// Events whose ids are remembered to drop copies, at most; 200,000 by default (16 bytes
    /// each).
    #[serde(deserialize_with = "setting::number")]
    pub remembered_events: usize,
    /// How often overdue deliveries are looked for; 30 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub sweep_every: Duration,
    /// Deliveries that one job (a range of redeliveries, a replay) makes in a second, at most; 50
    /// by default.
    #[serde(deserialize_with = "setting::number")]
    pub job_rate: u32,
    /// A webhook whose deliveries were exhausted over at least this long, with no success between,
    /// is switched off; 5 days by default, 0 never switches one off.
    #[serde(deserialize_with = "setting::duration")]
    pub disable_after: Duration,
    /// How often what is older than `database.retention` and `database.audit_retention` is looked
    /// for; 1 h by default.
    #[serde(deserialize_with = "setting::duration")]
    pub retention_every: Duration,
    /// How long a stop waits for what is under way; 45 s by default.
    #[serde(deserialize_with = "setting::duration")]
    pub grace: Duration,
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8082".into(),
            threads: 0,
            prefetch: 1_024,
            deliver_prefetch: 256,
            concurrency: 384,
            retry_concurrency: 128,
            per_webhook: 512,
            per_host: 512,
            slow_requests: 3_072,
            circuit_failures: 8,
            circuit_pause: Duration::from_secs(15),
            give_up_after: Duration::from_secs(24 * 3_600),
            backlog_lease: Duration::from_secs(10),
            backlog_bytes: 32 * 1_024 * 1_024,
            record_linger: Duration::from_millis(20),
            record_batch: 500,
            cache_age: Duration::from_secs(30),
            cache_users: 100_000,
            remembered_events: 200_000,
            sweep_every: Duration::from_secs(30),
            job_rate: 50,
            disable_after: Duration::from_secs(5 * 24 * 3_600),
            retention_every: Duration::from_secs(3_600),
            grace: Duration::from_secs(45),
        }
    }
}
