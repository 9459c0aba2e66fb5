//! A webhook that changes while its retries wait.

use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio, Webhook};

const SLOWLY: [(&str, &str); 1] = [("STUDIO__DELIVERY__RETRY_DELAYS", "2s,2s,2s,2s")];

/// A delivery that has failed once and waits.
async fn waiting(studio: &Studio, endpoint: &Endpoint) -> Webhook {
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    studio.wait_for_log(&webhook, "retrying").await;
    webhook
}

async fn change(studio: &Studio, webhook: &Webhook, fields: serde_json::Value) {
    let (token, path) = (studio.token("usr_1", "user"), format!("/v1/webhooks/{}", webhook.id));
    let (status, answer) = studio.call("PATCH", &path, &token, Some(&fields)).await;
    assert_eq!(status, 200, "{answer}");
}

async fn a_webhook_switched_off_gets_no_retry_and_its_delivery_is_cancelled(backend: Backend) {
    let studio = Studio::with(backend, &SLOWLY).await;
    let endpoint = Endpoint::answering([500]).await;
    let webhook = waiting(&studio, &endpoint).await;
    change(&studio, &webhook, json!({ "active": false })).await;
    studio.wait_for_log(&webhook, "cancelled").await;
    assert_eq!(endpoint.count(), 1);
}

async fn a_deleted_webhook_gets_no_retry(backend: Backend) {
    let studio = Studio::with(backend, &SLOWLY).await;
    let (endpoint, witness) = (Endpoint::answering([500]).await, Endpoint::answering([200]).await);
    let webhook = waiting(&studio, &endpoint).await;
    let (token, path) = (studio.token("usr_1", "user"), format!("/v1/webhooks/{}", webhook.id));
    assert_eq!(studio.call("DELETE", &path, &token, None).await.0, 204);
    // Somebody else's retry of the same step comes after the deleted one's.
    studio.webhook("usr_2", &witness.url(), json!({})).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    studio.publish(&Published::in_project("usr_2", "p")).await;
    witness.wait_for(1).await;
    assert_eq!(endpoint.count(), 1);
}

async fn a_retry_goes_to_the_new_url_with_the_new_secret(backend: Backend) {
    let studio = Studio::with(backend, &SLOWLY).await;
    let (endpoint, moved) = (Endpoint::answering([500]).await, Endpoint::answering([200]).await);
    let webhook = waiting(&studio, &endpoint).await;
    let token = studio.token("usr_1", "user");
    change(&studio, &webhook, json!({ "url": moved.url() })).await;
    let path = format!("/v1/webhooks/{}/rotate-secret", webhook.id);
    let (_, rotated) = studio.call("POST", &path, &token, None).await;
    let secret = rotated["data"]["secret"].as_str().unwrap().to_owned();
    moved.wait_for(1).await;
    let request = &moved.requests()[0];
    assert_eq!((request.header("x-sentimatrix-attempt"), endpoint.count()), ("2", 1));
    let key = bench::signature::keyed(secret.as_bytes());
    let expected = bench::signature::specification(&key, &request.body);
    assert_eq!(request.header("x-sentimatrix-signature"), expected);
}

on_both!(
    a_webhook_switched_off_gets_no_retry_and_its_delivery_is_cancelled,
    a_deleted_webhook_gets_no_retry,
    a_retry_goes_to_the_new_url_with_the_new_secret,
);
