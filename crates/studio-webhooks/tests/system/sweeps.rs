//! The broker is the timer, the store is the truth: what a delay queue lost is tried all the same.

use std::time::Duration;

use bench::servers::RabbitMq;
use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};
use crate::support::wait_for;

fn ctl(arguments: &[&str]) {
    tokio::task::block_in_place(|| RabbitMq::shared().ctl(arguments)).unwrap();
}

async fn retries_survive(command: &'static str, vanished: &str) {
    let delay =
        [("STUDIO__DELIVERY__RETRY_DELAYS", "7s,8s"), ("STUDIO__DISPATCHER__SWEEP_EVERY", "2s")];
    let studio = Studio::with(Backend::Servers, &delay).await;
    let (endpoint, webhook) = studio.waiting_retry().await;
    ctl(&[command, "-p", &studio.vhost(), "studio.deliver.retry.7s"]);
    // What fails from now on is planned as before, in a queue that may have to be made again.
    let next = Endpoint::answering([500, 200]).await;
    studio.webhook("usr_2", &next.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_2", "p")).await;
    tokio::time::timeout(Duration::from_secs(15), next.wait_for(2))
        .await
        .unwrap_or_else(|_| panic!("nothing was planned after {vanished}"));
    tokio::time::timeout(Duration::from_secs(60), endpoint.wait_for(2))
        .await
        .unwrap_or_else(|_| panic!("no second attempt within a minute of {vanished}"));
    studio.wait_for_log(&webhook, "success").await;
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_delay_queue_delays_a_retry_by_less_than_a_minute() {
    retries_survive("purge_queue", "the purge").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_delay_queue_delays_a_retry_by_less_than_a_minute() {
    retries_survive("delete_queue", "the deletion").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_closed_from_outside_are_made_again_within_seconds() {
    let studio = Studio::start(Backend::Servers).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    for round in 1..=3 {
        ctl(&["close_all_connections", "--vhost", &studio.vhost(), "a test"]);
        studio.publish(&Published::in_project("usr_1", "p")).await;
        tokio::time::timeout(Duration::from_secs(5), endpoint.wait_for(round))
            .await
            .unwrap_or_else(|_| panic!("no delivery within 5 s of the cut"));
    }
}

/// RabbitMQ tries again what a queue could not take, after as long as it is told
/// (`deploy/rabbitmq/advanced.config`); before the sweep does or after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_falls_due_while_its_queue_is_down_is_late_by_less_than_a_minute() {
    let settings =
        [("STUDIO__DELIVERY__RETRY_DELAYS", "10s,5s"), ("STUDIO__DISPATCHER__SWEEP_EVERY", "2s")];
    let studio = Studio::with(Backend::Servers, &settings).await;
    let (endpoint, webhook) = studio.waiting_retry().await;
    let queue = format!("{{'{}_studio.deliver', node()}}", studio.vhost());
    ctl(&["eval", &format!("ra:stop_server(quorum_queues, {queue}).")]);
    // How long the fault lasts: past the time at which the retry is due.
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(endpoint.count(), 1, "the queue was not down");
    ctl(&["eval", &format!("ra:restart_server(quorum_queues, {queue}).")]);
    tokio::time::timeout(Duration::from_secs(60), endpoint.wait_for(2))
        .await
        .unwrap_or_else(|_| panic!("no second attempt within a minute"));
    studio.wait_for_log(&webhook, "success").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_taken_away_and_given_back_leave_everything_as_it_was() {
    let studio = Studio::start(Backend::Servers).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let vhost = studio.vhost();
    ctl(&["clear_permissions", "-p", &vhost, "guest"]);
    ctl(&["close_all_connections", "--vhost", &vhost, "a test"]);
    for base in [&studio.api, &studio.dispatcher] {
        wait_for("the broker being named", || async {
            let (status, answer) = studio.readiness(base).await;
            (status == 503 && answer["broker"] != "ready").then_some(())
        })
        .await;
    }
    ctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]);
    let given_back = std::time::Instant::now();
    for base in [&studio.api, &studio.dispatcher] {
        studio.wait_ready(base).await;
    }
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(1).await;
    let took = given_back.elapsed();
    assert!(took < Duration::from_secs(5), "back after {took:?}");
}
