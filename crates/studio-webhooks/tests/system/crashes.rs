//! `kill -9` loses nothing: the ledger of what was confirmed against what arrived.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio, Webhook};
use crate::support::wait_for;

/// What a dispatcher may have taken and not finished, first attempts and later ones.
const TAKEN: [(&str, &str); 2] =
    [("STUDIO__DISPATCHER__PREFETCH", "128"), ("STUDIO__DISPATCHER__DELIVER_PREFETCH", "64")];

/// All that one kill can double, however slow the disk is: what was taken and not recorded.
const DOUBLED_AT_MOST: usize = 128 + 64;

/// Every confirmed event arrived, with the same bytes and delivery id each time; gives back how
/// many arrived more than once.
fn check_ledger(confirmed: &[Published], endpoint: &Endpoint) -> usize {
    let mut arrived: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for request in endpoint.requests() {
        let delivery = request.header("x-sentimatrix-delivery").to_owned();
        arrived.entry(request.event_id()).or_default().push((delivery, request.text()));
    }
    let mut duplicates = 0;
    for event in confirmed {
        let requests = arrived.remove(&event.id).unwrap_or_default();
        assert!(!requests.is_empty(), "{} was confirmed and never arrived", event.id);
        assert!(requests.iter().all(|request| *request == requests[0]), "{requests:?}");
        assert_eq!(requests[0].1, event.payload());
        duplicates += requests.len() - 1;
    }
    assert!(arrived.is_empty(), "arrived and never published: {arrived:?}");
    duplicates
}

async fn wait_until_all_arrived(events: &[Published], endpoint: &Endpoint) {
    wait_for("the arrival of every event", || async {
        let ids: std::collections::HashSet<String> =
            endpoint.requests().iter().map(|r| r.event_id()).collect();
        (ids.len() >= events.len()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_embedded_process_delivers_the_rest_after_its_restart() {
    let studio = Studio::with(Backend::Embedded, &TAKEN).await;
    let endpoint = Endpoint::slow(Duration::from_millis(20)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let events = Published::several("usr_1", 1_000);
    studio.publish_all(&events).await;
    wait_for("half of the deliveries", || async { (endpoint.count() >= 500).then_some(()) }).await;
    studio.kill("all");
    let before = endpoint.count();
    studio.spawn("all", "all", &[]);
    studio.wait_ready(&studio.api).await;
    wait_until_all_arrived(&events, &endpoint).await;
    let duplicates = check_ledger(&events, &endpoint);
    assert!(duplicates <= DOUBLED_AT_MOST, "{duplicates} doubled, killed after {before} requests");
    assert_logged_once(&studio, &webhook, events.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_share_the_work_and_the_kill_of_one_loses_nothing() {
    let studio = Studio::with(Backend::Servers, &TAKEN).await;
    let other = [("STUDIO__DISPATCHER__BIND", "127.0.0.1:0")];
    studio.spawn("dispatcher-2", "dispatcher", &other);
    let endpoint = Endpoint::slow(Duration::from_millis(20)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    wait_for("the second dispatcher", || async {
        studio.log("dispatcher-2").contains("the dispatcher works").then_some(())
    })
    .await;
    let events = Published::several("usr_1", 1_000);
    studio.publish_all(&events).await;
    wait_for("half of the deliveries", || async { (endpoint.count() >= 500).then_some(()) }).await;
    studio.kill("dispatcher");
    wait_until_all_arrived(&events, &endpoint).await;
    let duplicates = check_ledger(&events, &endpoint);
    assert!(duplicates <= DOUBLED_AT_MOST, "{duplicates} doubled");
    assert_logged_once(&studio, &webhook, events.len()).await;
}

/// The log counts every delivery once, and all of them succeeded.
async fn assert_logged_once(studio: &Studio, webhook: &Webhook, count: usize) {
    wait_for("a log of every delivery", || async {
        (studio.succeeded(webhook).await == count).then_some(())
    })
    .await;
    let token = studio.token(&webhook.user, "user");
    let all = format!("/v1/webhooks/{}/logs?limit=1", webhook.id);
    let (_, answer) = studio.call("GET", &all, &token, None).await;
    assert_eq!(answer["meta"]["pagination"]["total"], count);
}
