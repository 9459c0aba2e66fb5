//! The broker is the timer, the store is the truth: what a delay queue lost is tried all the same.

use std::time::Duration;

use bench::servers::RabbitMq;
use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};

async fn retries_survive(command: &'static str, vanished: &str) {
    let delay =
        [("STUDIO__DELIVERY__RETRY_DELAYS", "7s,8s"), ("STUDIO__DISPATCHER__SWEEP_EVERY", "2s")];
    let studio = Studio::with(Backend::Servers, &delay).await;
    let endpoint = Endpoint::answering([500, 200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    studio.wait_for_log(&webhook, "retrying").await;
    let url = studio.amqp_url.clone().unwrap();
    let vhost = url.rsplit('/').next().unwrap().to_owned();
    tokio::task::spawn_blocking(move || {
        RabbitMq::shared().ctl(&[command, "-p", &vhost, "studio.deliver.retry.7s"]).unwrap()
    })
    .await
    .unwrap();
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
    let url = studio.amqp_url.clone().unwrap();
    for round in 1..=3 {
        let vhost = url.rsplit('/').next().unwrap().to_owned();
        tokio::task::spawn_blocking(move || {
            let close = ["close_all_connections", "--vhost", &vhost, "a test"];
            RabbitMq::shared().ctl(&close).unwrap()
        })
        .await
        .unwrap();
        studio.publish(&Published::in_project("usr_1", "p")).await;
        tokio::time::timeout(Duration::from_secs(5), endpoint.wait_for(round))
            .await
            .unwrap_or_else(|_| panic!("no delivery within 5 s of the cut"));
    }
}
