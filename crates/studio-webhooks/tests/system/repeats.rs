//! The same event from several publishers, and the same message for two dispatchers.

use std::collections::HashSet;
use std::time::Duration;

use bench::servers::Signal;
use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio};

async fn an_id_is_one_event_of_its_user_whoever_publishes_it_again(backend: Backend) {
    let studio = Studio::start(backend).await;
    let (endpoint, other) = (Endpoint::answering([200]).await, Endpoint::answering([200]).await);
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.webhook("usr_2", &other.url(), json!({})).await;
    let first = Published::several("usr_1", 300);
    let again: Vec<Published> = first
        .iter()
        .map(|event| Published { data: r#"{"project_id":"late"}"#.into(), ..event.clone() })
        .collect();
    let strangers: Vec<Published> =
        first.iter().map(|event| Published { user: "usr_2".into(), ..event.clone() }).collect();
    studio.publish_all(&first).await;
    endpoint.wait_for(300).await;
    tokio::join!(
        studio.publish_all(&again),
        studio.publish_all(&first),
        studio.publish_all(&strangers)
    );
    other.wait_for(300).await;
    // What comes last has gone the way of all before it.
    studio.publish(&Published::in_project("usr_1", "last")).await;
    endpoint.wait_for(301).await;
    let bodies: HashSet<String> = endpoint.requests().iter().map(|r| r.text()).collect();
    assert!(first.iter().all(|event| bodies.contains(&event.payload())), "the first body wins");
    assert_eq!((endpoint.count(), other.count()), (301, 300));
}

on_both!(an_id_is_one_event_of_its_user_whoever_publishes_it_again);

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_was_frozen_too_long_doubles_one_request_and_overwrites_nothing() {
    let mut studio = Studio::prepare(Backend::Servers, &[]).await;
    let url = format!("{}?heartbeat=2", studio.amqp_url.as_deref().unwrap());
    studio.set("STUDIO__BROKER__URL", &url);
    studio.run(Backend::Servers).await;
    let endpoint = Endpoint::slow(Duration::from_millis(1_500)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    crate::support::wait_for("the request", || async { (endpoint.count() == 1).then_some(()) })
        .await;
    studio.signal("dispatcher", Signal::Stop);
    studio.spawn("dispatcher-2", "dispatcher", &[("STUDIO__DISPATCHER__BIND", "127.0.0.1:0")]);
    endpoint.wait_for(2).await;
    let log = studio.wait_for_log(&webhook, "success").await;
    studio.signal("dispatcher", Signal::Cont);
    studio.wait_ready(&studio.dispatcher).await;
    // Long enough for the late outcome, which another event's overtakes.
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(3).await;
    let logs = crate::support::wait_for("two logs", || async {
        let logs = studio.logs(&webhook).await;
        (logs.len() == 2 && logs.iter().all(|log| log["status"] == "success")).then_some(logs)
    })
    .await;
    assert_eq!(logs[1], log, "the first delivery is as it was");
    let requests = endpoint.requests();
    let id = |n: usize| requests[n].header("x-sentimatrix-delivery").to_owned();
    assert_eq!((requests.len(), id(0)), (3, id(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_under_way_at_25_kills_is_sent_once_more_for_each_and_never_given_up() {
    let studio = Studio::start(Backend::Servers).await;
    let endpoint = Endpoint::slow(Duration::from_secs(3)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    for kills in 1..=25 {
        endpoint.wait_for(kills).await;
        studio.kill("dispatcher");
        studio.spawn("dispatcher", "dispatcher", &[]);
    }
    let log = studio.wait_for_log(&webhook, "success").await;
    assert_eq!((&log["retry_count"], endpoint.count()), (&json!(0), 26));
    let ids: HashSet<String> = endpoint
        .requests()
        .iter()
        .map(|request| request.header("x-sentimatrix-delivery").to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
}
