//! Stopping in order: no new work, what is under way finished, exit 0 within the grace period.

use std::time::{Duration, Instant};

use bench::servers::Signal;
use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};
use crate::support::{on_both, wait_for};

async fn an_idle_process_stops_at_once(backend: Backend) {
    let studio = Studio::start(backend).await;
    let began = Instant::now();
    assert_eq!(studio.terminate(backend.worker()).await, 0);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

async fn a_stop_finishes_what_is_under_way_and_doubles_nothing(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::slow(Duration::from_millis(1_500)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let events = Published::several("usr_1", 50);
    studio.publish_all(&events).await;
    wait_for("requests under way", || async { (endpoint.count() >= 10).then_some(()) }).await;
    let began = Instant::now();
    assert_eq!(studio.terminate(backend.worker()).await, 0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    studio.spawn(backend.worker(), backend.worker(), &[]);
    studio.wait_ready(&studio.dispatcher).await;
    wait_for("the rest", || async { (endpoint.count() >= 50).then_some(()) }).await;
    wait_for("a log of every delivery", || async {
        (studio.succeeded(&webhook).await == 50).then_some(())
    })
    .await;
    assert_eq!(endpoint.count(), 50, "each was sent once");
}

async fn a_request_that_outlasts_the_grace_period_is_handed_back(backend: Backend) {
    let grace = [("STUDIO__DISPATCHER__GRACE", "1s")];
    let studio = Studio::with(backend, &grace).await;
    let endpoint = Endpoint::slow(Duration::from_secs(4)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    wait_for("the request", || async { (endpoint.count() == 1).then_some(()) }).await;
    let began = Instant::now();
    assert_eq!(studio.terminate(backend.worker()).await, 0);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    studio.spawn(backend.worker(), backend.worker(), &[]);
    endpoint.wait_for(2).await;
    let requests = endpoint.requests();
    assert_eq!(
        requests[0].header("x-sentimatrix-delivery"),
        requests[1].header("x-sentimatrix-delivery")
    );
    studio.wait_ready(&studio.api).await;
    studio.wait_for_log(&webhook, "success").await;
}

async fn a_second_signal_stops_at_once(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::slow(Duration::from_secs(20)).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    wait_for("the request", || async { (endpoint.count() == 1).then_some(()) }).await;
    let (name, began) = (backend.worker(), Instant::now());
    studio.signal(name, Signal::Term);
    wait_for("the stop", || async { studio.log(name).contains("stopping").then_some(()) }).await;
    assert_eq!(studio.terminate(name).await, 130);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

on_both!(
    an_idle_process_stops_at_once,
    a_stop_finishes_what_is_under_way_and_doubles_nothing,
    a_request_that_outlasts_the_grace_period_is_handed_back,
    a_second_signal_stops_at_once,
);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_loses_nothing_and_doubles_nothing() {
    let studio = Studio::start(Backend::Servers).await;
    let other = [("STUDIO__DISPATCHER__BIND", "127.0.0.1:0")];
    studio.spawn("dispatcher-2", "dispatcher", &other);
    let endpoint = Endpoint::slow(Duration::from_millis(50)).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let rolling = async {
        for _ in 0..2 {
            for (name, settings) in [("dispatcher", &[][..]), ("dispatcher-2", &other[..])] {
                assert_eq!(studio.terminate(name).await, 0);
                studio.spawn(name, "dispatcher", settings);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    };
    let publishing = async {
        let mut published = 0;
        for batch in 0..60 {
            let events: Vec<Published> =
                (0..5).map(|n| Published::in_project("usr_1", &format!("p{batch}-{n}"))).collect();
            // Each is confirmed, or the test has failed.
            studio.publish_all(&events).await;
            published += events.len();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        published
    };
    let ((), published) = tokio::join!(rolling, publishing);
    endpoint.wait_for(published).await;
    let ids: std::collections::HashSet<String> =
        endpoint.requests().iter().map(|request| request.event_id()).collect();
    assert_eq!((ids.len(), endpoint.count()), (published, published));
}
