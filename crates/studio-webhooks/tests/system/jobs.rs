//! Ranges of redeliveries and replays: whole, at their pace, and across kills.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio, Webhook};
use crate::support::wait_for;

/// A range that holds everything of a test.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// Failed for good after a second attempt.
const SOON_FAILED: (&str, &str) = ("STUDIO__DELIVERY__RETRY_DELAYS", "200ms");

/// Deliveries of a job in a second: slow enough to kill it in the middle.
const SLOWLY: (&str, &str) = ("STUDIO__DISPATCHER__JOB_RATE", "20");

fn events(count: usize) -> Vec<Published> {
    Published::several("usr_1", count)
}

async fn post(studio: &Studio, webhook: &Webhook, path: &str, body: Value) -> Value {
    let token = studio.token(&webhook.user, "user");
    let path = format!("/v1/webhooks/{}/{path}", webhook.id);
    let (status, answer) = studio.call("POST", &path, &token, Some(&body)).await;
    assert!(matches!(status, 200 | 202), "{status}: {answer}");
    answer["data"].clone()
}

async fn get(studio: &Studio, webhook: &Webhook, path: &str) -> Value {
    let token = studio.token(&webhook.user, "user");
    let path = format!("/v1/webhooks/{}/{path}", webhook.id);
    let (status, answer) = studio.call("GET", &path, &token, None).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Waits until the job is done.
async fn done(studio: &Studio, webhook: &Webhook, job: &Value) -> Value {
    let path = format!("jobs/{}", job["id"].as_str().unwrap());
    wait_for("the end of the job", || async {
        let job = get(studio, webhook, &path).await["data"].clone();
        (job["status"] == "done").then_some(job)
    })
    .await
}

/// Waits until the log has `count` deliveries of this status.
async fn logged(studio: &Studio, webhook: &Webhook, status: &str, count: usize) {
    let path = format!("logs?limit=1&status={status}");
    wait_for(&format!("{count} logs that are {status}"), || async {
        let answer = get(studio, webhook, &path).await;
        (answer["meta"]["pagination"]["total"] == count).then_some(())
    })
    .await;
}

/// A webhook of which `count` deliveries have failed, and which now has an endpoint that works.
async fn recovered(studio: &Studio, count: usize) -> (Webhook, Endpoint) {
    let broken = Endpoint::answering([500]).await;
    let webhook = studio.webhook("usr_1", &broken.url(), json!({})).await;
    studio.publish_all(&events(count)).await;
    logged(studio, &webhook, "failed", count).await;
    let endpoint = Endpoint::answering([200]).await;
    let token = studio.token("usr_1", "user");
    let change = json!({ "url": endpoint.url() });
    let path = format!("/v1/webhooks/{}", webhook.id);
    assert_eq!(studio.call("PUT", &path, &token, Some(&change)).await.0, 200);
    // A change counts from one second after its answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    (webhook, endpoint)
}

/// Every event arrived, under one delivery id; gives back how many arrived more than once.
fn arrived(endpoint: &Endpoint, count: usize) -> usize {
    let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
    for request in endpoint.requests() {
        let delivery = request.header("x-sentimatrix-delivery").to_owned();
        ids.entry(request.event_id()).or_default().insert(delivery);
    }
    assert_eq!(ids.len(), count, "each event");
    assert!(ids.values().all(|deliveries| deliveries.len() == 1), "{ids:?}");
    endpoint.count() - count
}

/// Publishes `missed`, all of one user's, and waits until they were dispatched, as another webhook
/// shows: one that is made now has nothing of them.
async fn publish_before_the_webhook(studio: &Studio, missed: &[Published]) {
    let witness = Endpoint::answering([200]).await;
    let its = studio.webhook("usr_1", &witness.url(), json!({})).await;
    studio.publish_all(missed).await;
    logged(studio, &its, "success", missed.len()).await;
}

async fn a_range_of_failed_deliveries_is_made_again(backend: Backend) {
    let studio = Studio::with(backend, &[SOON_FAILED]).await;
    let (webhook, endpoint) = recovered(&studio, 30).await;
    let job = post(&studio, &webhook, "redeliver", json!({ "since": SINCE })).await;
    assert_eq!(job["progress"]["total"], 30);
    let ended = done(&studio, &webhook, &job).await;
    let progress =
        json!({ "total": 30, "total_capped": false, "done": 30, "skipped": 0, "failed": 0 });
    assert_eq!(ended["progress"], progress);
    logged(&studio, &webhook, "success", 30).await;
    assert_eq!(arrived(&endpoint, 30), 0, "each once");
    let logs = studio.logs(&webhook).await;
    assert_eq!(logs.iter().filter(|log| log["cause"] == "redelivery").count(), 30);

    // What was brought since is not sent again.
    let job = post(&studio, &webhook, "redeliver", json!({ "since": SINCE })).await;
    let ended = done(&studio, &webhook, &job).await;
    assert_eq!(
        (&ended["progress"]["done"], &ended["progress"]["skipped"]),
        (&json!(0), &json!(30))
    );
    assert_eq!(endpoint.count(), 30);
    let jobs = get(&studio, &webhook, "jobs").await;
    assert_eq!(jobs["data"][0], ended);
    assert_eq!(jobs["meta"]["pagination"]["total"], 2);
}

async fn a_range_goes_on_after_a_kill_where_it_was(backend: Backend) {
    let studio = Studio::with(backend, &[SOON_FAILED, SLOWLY]).await;
    let (webhook, endpoint) = recovered(&studio, 100).await;
    let job = post(&studio, &webhook, "redeliver", json!({ "since": SINCE })).await;
    wait_for("a third of the job", || async { (endpoint.count() >= 30).then_some(()) }).await;
    let name = backend.worker();
    studio.kill(name);
    assert!(endpoint.count() < 100, "killed in the middle");
    studio.spawn(name, name, &[]);
    studio.wait_ready(&studio.api).await;
    let ended = done(&studio, &webhook, &job).await;
    assert_eq!(
        (&ended["progress"]["done"], &ended["progress"]["total"]),
        (&json!(100), &json!(100))
    );
    logged(&studio, &webhook, "success", 100).await;
    // What was under way at the kill, at most: sent, and not recorded yet.
    let twice = arrived(&endpoint, 100);
    assert!(twice <= 20, "{twice} were sent twice");
}

async fn a_cancelled_job_stops(backend: Backend) {
    let settings = [SOON_FAILED, ("STUDIO__DISPATCHER__JOB_RATE", "5")];
    let studio = Studio::with(backend, &settings).await;
    let (webhook, endpoint) = recovered(&studio, 60).await;
    let job = post(&studio, &webhook, "redeliver", json!({ "since": SINCE })).await;
    endpoint.wait_for(5).await;
    let path = format!("jobs/{}/cancel", job["id"].as_str().unwrap());
    let cancelled = post(&studio, &webhook, &path, json!({})).await;
    assert_eq!(cancelled["status"], "cancelled");
    // Long enough for two more steps.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let path = format!("jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(get(&studio, &webhook, &path).await["data"], cancelled);
    assert!(endpoint.count() <= 15, "{} were sent", endpoint.count());
}

async fn what_a_webhook_missed_is_replayed_once(backend: Backend) {
    let studio = Studio::start(backend).await;
    studio.publish(&Published::in_project("usr_2", "another's")).await;
    let mut missed = events(20);
    missed.push(Published::new("usr_1", "scrape.failed", "{}"));
    publish_before_the_webhook(&studio, &missed).await;
    let endpoint = Endpoint::answering([200]).await;
    let asked = json!({ "events": ["scrape.completed"] });
    let webhook = studio.webhook("usr_1", &endpoint.url(), asked).await;
    studio.publish_all(&events(5)).await;
    logged(&studio, &webhook, "success", 5).await;

    let range = json!({ "since": an_hour_ago() });
    let job = post(&studio, &webhook, "replay", range.clone()).await;
    let ended = done(&studio, &webhook, &job).await;
    let progress =
        json!({ "total": 25, "total_capped": false, "done": 20, "skipped": 5, "failed": 0 });
    assert_eq!(ended["progress"], progress);
    assert_eq!(ended.get("history_from"), None, "all of it was covered");
    logged(&studio, &webhook, "success", 25).await;
    assert_eq!(arrived(&endpoint, 25), 0, "each once");
    let logs = studio.logs(&webhook).await;
    assert_eq!(logs.iter().filter(|log| log["cause"] == "replay").count(), 20);

    let job = post(&studio, &webhook, "replay", range).await;
    let ended = done(&studio, &webhook, &job).await;
    assert_eq!(
        (&ended["progress"]["done"], &ended["progress"]["skipped"]),
        (&json!(0), &json!(25))
    );
    assert_eq!(endpoint.count(), 25);
}

async fn a_replay_goes_on_after_a_kill(backend: Backend) {
    let studio = Studio::with(backend, &[SLOWLY]).await;
    publish_before_the_webhook(&studio, &events(100)).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let job = post(&studio, &webhook, "replay", json!({ "since": an_hour_ago() })).await;
    wait_for("a third of the job", || async { (endpoint.count() >= 30).then_some(()) }).await;
    let name = backend.worker();
    studio.kill(name);
    assert!(endpoint.count() < 100, "killed in the middle");
    studio.spawn(name, name, &[]);
    studio.wait_ready(&studio.api).await;
    let ended = done(&studio, &webhook, &job).await;
    let progress =
        json!({ "total": 100, "total_capped": false, "done": 100, "skipped": 0, "failed": 0 });
    assert_eq!(ended["progress"], progress);
    logged(&studio, &webhook, "success", 100).await;
    let twice = arrived(&endpoint, 100);
    assert!(twice <= 20, "{twice} were sent twice");
}

async fn a_replay_says_what_the_history_does_not_reach(backend: Backend) {
    let studio = Studio::with(backend, &[("STUDIO__BROKER__HISTORY_AGE", "1h")]).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let job = post(&studio, &webhook, "replay", json!({ "since": SINCE })).await;
    let ended = done(&studio, &webhook, &job).await;
    let from = ended["history_from"].as_str().unwrap();
    // An installation just made has removed nothing; it vouches for what it would have kept.
    assert!(from > "2026-02-02", "{ended}");
    assert_eq!(ended["progress"]["total"], 0);
}

fn an_hour_ago() -> String {
    let at = time::OffsetDateTime::now_utc() - time::Duration::HOUR;
    at.format(&time::format_description::well_known::Rfc3339).unwrap()
}

on_both!(
    a_range_of_failed_deliveries_is_made_again,
    a_range_goes_on_after_a_kill_where_it_was,
    a_cancelled_job_stops,
    what_a_webhook_missed_is_replayed_once,
    a_replay_goes_on_after_a_kill,
    a_replay_says_what_the_history_does_not_reach,
);
