//! What is another user's does not exist.

use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::studio::Studio;

/// An answer without what differs from request to request.
fn body(answer: &crate::studio::Answer) -> Value {
    let mut body = answer.json();
    body["meta"] = json!(null);
    body
}

#[tokio::test]
async fn another_users_ids_are_unknown_on_every_route() {
    let studio = Studio::start().await;
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let owner = studio.user("usr_owner");
    let id = owner.webhook(&endpoint.url()).await;
    let test = owner.post(&format!("/v1/webhooks/{id}/test"), json!({})).await.expect(200).data();
    let log = test["log_id"].as_str().unwrap();
    let shown = owner.get(&format!("/v1/webhooks/{id}/logs/{log}")).await.expect(200).data();
    let event = shown["event_id"].as_str().unwrap();
    let range = Some(json!({ "since": "2026-01-01T00:00:00Z" }).to_string());
    let again = format!("/v1/webhooks/{id}/redeliver");
    let made = owner.send(Method::POST, &again, range.clone()).await.expect(202).data();
    let job = made["id"].as_str().unwrap();
    let before = owner.get("/v1/webhooks").await.data();

    let thief = studio.user("usr_thief");
    let own = thief.webhook("https://example.com/").await;
    let unknown =
        body(&thief.get(&format!("/v1/webhooks/wh_{}", "0".repeat(32))).await.expect(404));
    let change = Some(json!({ "name": "stolen", "nonsense": 1 }).to_string());
    for (method, path, sent) in [
        (Method::GET, format!("/v1/webhooks/{id}"), None),
        (Method::PUT, format!("/v1/webhooks/{id}"), change.clone()),
        (Method::PATCH, format!("/v1/webhooks/{id}"), change.clone()),
        (Method::DELETE, format!("/v1/webhooks/{id}"), None),
        (Method::POST, format!("/v1/webhooks/{id}/test"), None),
        (Method::POST, format!("/v1/webhooks/{id}/verify"), None),
        (Method::POST, format!("/v1/webhooks/{id}/rotate-secret"), None),
        (Method::GET, format!("/v1/webhooks/{id}/logs"), None),
        (Method::GET, format!("/v1/webhooks/{id}/logs/{log}"), None),
        (Method::POST, format!("/v1/webhooks/{id}/logs/{log}/redeliver"), None),
        (Method::POST, format!("/v1/webhooks/{id}/redeliver"), range.clone()),
        (Method::POST, format!("/v1/webhooks/{id}/replay"), range),
        (Method::GET, format!("/v1/webhooks/{id}/jobs"), None),
        (Method::GET, format!("/v1/webhooks/{id}/jobs/{job}"), None),
        (Method::POST, format!("/v1/webhooks/{id}/jobs/{job}/cancel"), None),
        // Another's job under one's own webhook.
        (Method::GET, format!("/v1/webhooks/{own}/jobs/{job}"), None),
        (Method::POST, format!("/v1/webhooks/{own}/jobs/{job}/cancel"), None),
        // Another's log under one's own webhook.
        (Method::GET, format!("/v1/webhooks/{own}/logs/{log}"), None),
        (Method::POST, format!("/v1/webhooks/{own}/logs/{log}/redeliver"), None),
        (Method::GET, format!("/v1/events/{event}"), None),
    ] {
        let answer = thief.send(method.clone(), &path, sent).await.expect(404);
        assert_eq!(body(&answer), unknown, "{method} {path}");
    }
    assert_eq!(owner.get("/v1/webhooks").await.data(), before, "nothing changed");
    let kept = owner.get(&format!("/v1/webhooks/{id}/jobs/{job}")).await.expect(200).data();
    assert_eq!(kept, made, "not cancelled");
    assert_eq!(endpoint.received().len(), 1, "nothing was sent");
    let listed = thief.get("/v1/webhooks").await.data();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_id_is_unknown() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let upper = id.to_uppercase();
    let long = "x".repeat(8_000);
    let deleted = user.webhook("https://example.com/").await;
    user.delete(&format!("/v1/webhooks/{deleted}")).await.expect(204);
    let log = format!("log_{}", "0".repeat(32));
    let before = user.get("/v1/webhooks").await.data();
    let unknown = body(&user.get(&format!("/v1/webhooks/wh_{}", "0".repeat(32))).await.expect(404));
    let strange =
        ["1", "wh_", "log_1", "%00", "..%2f", "%2e%2e", "%27%20OR%201=1--", "%F0%9F%A6%80"];
    let change = || Some(json!({ "name": "other" }).to_string());
    for wrong in strange.into_iter().chain([upper.as_str(), &long, &deleted, &log]) {
        for (method, path, sent) in [
            (Method::GET, format!("/v1/webhooks/{wrong}"), None),
            (Method::PUT, format!("/v1/webhooks/{wrong}"), change()),
            (Method::PATCH, format!("/v1/webhooks/{wrong}"), change()),
            (Method::DELETE, format!("/v1/webhooks/{wrong}"), None),
            (Method::POST, format!("/v1/webhooks/{wrong}/test"), None),
            (Method::POST, format!("/v1/webhooks/{wrong}/rotate-secret"), None),
            (Method::GET, format!("/v1/webhooks/{wrong}/logs"), None),
            (Method::GET, format!("/v1/webhooks/{wrong}/logs/{log}"), None),
            (Method::GET, format!("/v1/webhooks/{id}/logs/{wrong}"), None),
            (Method::POST, format!("/v1/webhooks/{id}/logs/{wrong}/redeliver"), None),
            (Method::GET, format!("/v1/events/{wrong}"), None),
        ] {
            // What a client makes of `..` is the path of another operation.
            if path.ends_with("/%2e%2e/redeliver") {
                continue;
            }
            let answer = user.send(method.clone(), &path, sent).await.expect(404);
            assert_eq!(body(&answer), unknown, "{method} {path}");
        }
    }
    assert_eq!(user.get("/v1/webhooks").await.data(), before, "nothing changed");
}
