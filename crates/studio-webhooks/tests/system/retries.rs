//! What fails is tried again, on schedule, with the same bytes.

use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::{Endpoint, Received, Script};
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio};

/// The schedule of these tests.
const STEPS: [u64; 4] = [1, 2, 3, 4];

fn assert_same_delivery(requests: &[Received]) {
    for request in requests {
        assert_eq!(request.body, requests[0].body);
        assert_eq!(
            request.header("x-sentimatrix-delivery"),
            requests[0].header("x-sentimatrix-delivery")
        );
        assert_eq!(request.event_id(), requests[0].event_id());
    }
    let numbers: Vec<&str> =
        requests.iter().map(|request| request.header("x-sentimatrix-attempt")).collect();
    let expected: Vec<String> = (1..=requests.len()).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
}

fn assert_on_schedule(requests: &[Received]) {
    for (pair, step) in requests.windows(2).zip(STEPS) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_secs(step), "attempt after {waited:?} of {step} s");
        assert!(
            waited < Duration::from_secs(step + 3),
            "attempt only after {waited:?} of {step} s"
        );
    }
}

async fn an_endpoint_that_recovers_gets_the_same_delivery_until_it_takes_it(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([500, 500, 200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(3).await;
    let log = studio.wait_for_log(&webhook, "success").await;
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3);
    assert_same_delivery(&requests);
    assert_on_schedule(&requests);
    assert_eq!((&log["retry_count"], &log["status_code"]), (&json!(2), &json!(200)));
}

async fn an_endpoint_that_always_fails_gets_five_attempts(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([503]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    let log = studio.wait_for_log(&webhook, "failed").await;
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 5);
    assert_same_delivery(&requests);
    assert_on_schedule(&requests);
    assert_eq!(log["retry_count"], 4);
    assert_eq!(log["error"], "Service Unavailable");
    let token = studio.token("usr_1", "user");
    let path = format!("/v1/webhooks/{}/logs/{}", webhook.id, log["id"].as_str().unwrap());
    let (_, detail) = studio.call("GET", &path, &token, None).await;
    let attempts = detail["data"]["attempts"].as_array().unwrap();
    let numbers: Vec<u64> = attempts.iter().map(|a| a["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

async fn a_redirect_is_not_followed_and_fails(backend: Backend) {
    let studio = Studio::start(backend).await;
    let spy = Endpoint::answering([200]).await;
    let script = Script { statuses: vec![302], delay: Duration::ZERO, location: Some(spy.url()) };
    let endpoint = Endpoint::with(script).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    let log = studio.wait_for_log(&webhook, "retrying").await;
    assert_eq!(log["status_code"], 302);
    assert!(log["error"].as_str().unwrap().contains("redirects are not followed"), "{log}");
    assert_eq!(spy.count(), 0);
}

async fn an_endpoint_that_does_not_answer_in_time_has_failed(backend: Backend) {
    let studio = Studio::with(backend, &[("STUDIO__DELIVERY__TIMEOUT", "500ms")]).await;
    let endpoint = Endpoint::slow(Duration::from_secs(20)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    let log = studio.wait_for_log(&webhook, "retrying").await;
    assert_eq!((&log["error"], &log["status_code"]), (&json!("Connection timeout"), &json!(null)));
}

on_both!(
    an_endpoint_that_recovers_gets_the_same_delivery_until_it_takes_it,
    an_endpoint_that_always_fails_gets_five_attempts,
    a_redirect_is_not_followed_and_fails,
    an_endpoint_that_does_not_answer_in_time_has_failed,
);
