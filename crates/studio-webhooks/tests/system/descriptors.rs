//! A process that may open few files.

use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};
use crate::support::{on_both, wait_at_most};

/// Webhooks, and the events for each: requests under way for as long as the endpoint takes.
const WEBHOOKS: usize = 60;
const EVENTS: usize = 10;

/// More connections are wanted than there are descriptors: what cannot be sent is put off, no
/// attempt is counted, and nobody's endpoint is blamed.
async fn what_cannot_be_sent_is_put_off(backend: Backend) {
    let studio = Studio::start(backend).await;
    let process = backend.worker();
    assert_eq!(studio.terminate(process).await, 0);
    studio.spawn_under(process, process, "ulimit -n 256");
    studio.wait_ready(&studio.dispatcher).await;
    let endpoint = Endpoint::slow(Duration::from_secs(2)).await;
    let mut webhooks = Vec::new();
    for _ in 0..WEBHOOKS {
        webhooks.push(studio.webhook("usr_1", &endpoint.url(), json!({})).await);
    }
    let events = Published::several("usr_1", EVENTS);
    studio.publish_all(&events).await;
    for webhook in &webhooks {
        wait_at_most(Duration::from_secs(90), "a log of every delivery", || async {
            (studio.succeeded(webhook).await == EVENTS).then_some(())
        })
        .await;
    }
    assert_eq!(endpoint.count(), WEBHOOKS * EVENTS);
    let second = endpoint.requests().into_iter().find(|r| r.header("X-Sentimatrix-Attempt") != "1");
    assert!(second.is_none(), "an attempt was counted that was never made: {second:?}");
    let log = studio.log(process);
    let warnings = log.lines().filter(|line| line.contains("file descriptors")).count();
    assert!((1..=10).contains(&warnings), "{warnings} warnings of it");
}

on_both!(what_cannot_be_sent_is_put_off);
