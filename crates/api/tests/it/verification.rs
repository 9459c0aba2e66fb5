//! Endpoints that have to prove that they want to be told, where the operator asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::ApiConfig;
use domain::{Secret, WebhookId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver};
use crate::studio::{Caller, Studio, user_id};

const SECRET: &str = "my_webhook_secret";

async fn asking() -> Studio {
    let config = ApiConfig { rate_limit: 0, verify_endpoints: true, ..ApiConfig::default() };
    Studio::start_with(config).await
}

/// The answer of an endpoint that has the secret: the HMAC of a challenge, `OK` to all else.
fn proof(request: &Received, secret: &str) -> (&'static str, String) {
    let asked: Value = serde_json::from_slice(&request.body).unwrap();
    let Some(challenge) = asked["challenge"].as_str() else { return ("200 OK", "OK".into()) };
    let signature = domain::Signer::new(&Secret::new(secret)).sign(challenge.as_bytes());
    let response = signature.strip_prefix("sha256=").unwrap();
    ("200 OK", json!({ "response": response }).to_string())
}

async fn proving() -> Receiver {
    Receiver::by(|request| proof(request, SECRET)).await
}

async fn made(user: &Caller<'_>, url: &str) -> (String, Value) {
    let body = json!({ "name": "n", "url": url, "events": ["*"], "secret": SECRET });
    let made = user.post("/v1/webhooks", body).await.expect(201).data();
    (format!("/v1/webhooks/{}", made["id"].as_str().unwrap()), made)
}

/// Waits until the webhook at `path` is verified.
async fn verified(user: &Caller<'_>, path: &str) -> Value {
    let began = Instant::now();
    loop {
        let shown = user.get(path).await.expect(200).data();
        if shown["verification"] == "verified" {
            return shown;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not verified: {shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn id(path: &str) -> WebhookId {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_plain_installation_neither_asks_nor_shows_anything() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = proving().await;
    let (path, made) = made(&user, &endpoint.url()).await;
    for shown in [made, user.get(&path).await.data(), user.get("/v1/webhooks").await.data()] {
        assert!(!shown.to_string().contains("verif"), "{shown}");
    }
    assert_eq!(studio.store.active_webhooks(&user_id("usr_1")).await.unwrap().len(), 1);
    let verify = user.send(Method::POST, &format!("{path}/verify"), None).await.expect(200);
    assert_eq!(verify.data(), json!({ "verification": "verified", "verified_at": null }));
    assert_eq!(endpoint.received().len(), 0, "nobody was asked");
}

#[tokio::test]
async fn a_new_endpoint_is_asked_at_once_and_hears_of_events_once_it_proved_itself() {
    let studio = asking().await;
    let user = studio.user("usr_1");
    let endpoint = proving().await;
    let (path, made) = made(&user, &endpoint.url()).await;
    assert_eq!(made["verification"], "pending");
    assert_eq!(made.get("verified_at"), None);
    let shown = verified(&user, &path).await;
    assert!(shown["verified_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(user.get("/v1/webhooks").await.data()[0]["verification"], "verified");
    assert_eq!(studio.store.active_webhooks(&user_id("usr_1")).await.unwrap().len(), 1);

    let asked = endpoint.received().remove(0);
    assert_eq!(asked.header("x-sentimatrix-event"), "endpoint.verification");
    assert_eq!(asked.header("content-type"), "application/json");
    let secret = Secret::new(SECRET);
    assert!(domain::verify(&secret, &asked.body, asked.header("x-sentimatrix-signature")));
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body["type"], "endpoint.verification");
    assert_eq!(body["webhook_id"], made["id"]);
    let standard = domain::Signer::new(&secret).sign_standard(
        asked.header("webhook-id"),
        asked.header("webhook-timestamp").parse().unwrap(),
        &asked.body,
    );
    assert_eq!(asked.header("webhook-signature"), standard);

    user.post(&format!("{path}/test"), json!({})).await.expect(200);
    assert_eq!(endpoint.received().len(), 2);
    let again = user.send(Method::POST, &format!("{path}/verify"), None).await.expect(200);
    assert_eq!(again.data()["verification"], "verified");
    assert_eq!(endpoint.received().len(), 2, "asked once");
}

#[tokio::test]
async fn an_endpoint_that_proves_nothing_gets_nothing_but_the_question() {
    let studio = asking().await;
    let user = studio.user("usr_1");
    let echo = |request: &Received| -> (&'static str, String) {
        ("200 OK", String::from_utf8_lossy(&request.body).into_owned())
    };
    let echo_challenge = |request: &Received| -> (&'static str, String) {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        ("200 OK", json!({ "response": asked["challenge"] }).to_string())
    };
    let proves = |status| move |request: &Received| (status, proof(request, SECRET).1);
    for (what, endpoint, status) in [
        ("OK", Receiver::answering("200 OK", "OK").await, 200),
        ("an echo", Receiver::by(echo).await, 200),
        ("an echo of the challenge", Receiver::by(echo_challenge).await, 200),
        ("another secret", Receiver::by(|r| proof(r, "another secret")).await, 200),
        ("a failure", Receiver::by(proves("500 Internal Server Error")).await, 500),
        ("a redirect", Receiver::by(proves("302 Found")).await, 302),
    ] {
        let (path, _) = made(&user, &endpoint.url()).await;
        endpoint.arrival().await;
        let answer = user.send(Method::POST, &format!("{path}/verify"), None).await.expect(200);
        let data = answer.data();
        assert_eq!(
            (&data["verification"], &data["verified_at"]),
            (&json!("pending"), &json!(null))
        );
        assert!(!data["error"].as_str().unwrap().is_empty(), "{what}");
        assert_eq!(data["status_code"], status, "{what}");
        assert!(!answer.text.contains("chl_"), "{what}: what it answered is not repeated");
        assert_eq!(endpoint.received().len(), 2, "{what}: unasked, and asked for");
        for (refused, body) in [
            ("test", json!({})),
            ("redeliver", json!({ "since": "2026-01-01T00:00:00Z" })),
            ("replay", json!({ "since": "2026-01-01T00:00:00Z" })),
        ] {
            let answer = user.post(&format!("{path}/{refused}"), body).await.expect(409);
            assert_eq!(answer.code(), "CONFLICT", "{what}");
            assert!(answer.text.contains("/verify"), "{refused}: what to do: {}", answer.text);
        }
        assert_eq!(endpoint.received().len(), 2, "{what}");
        assert!(studio.store.active_webhooks(&user_id("usr_1")).await.unwrap().is_empty());
        user.delete(&path).await.expect(204);
    }
}

#[tokio::test]
async fn every_question_is_another() {
    let studio = asking().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let (path, _) = made(&user, &endpoint.url()).await;
    for _ in 0..2 {
        user.send(Method::POST, &format!("{path}/verify"), None).await.expect(200);
    }
    endpoint.arrival().await;
    let asked = endpoint.received();
    let challenges: std::collections::HashSet<&[u8]> =
        asked.iter().map(|request| request.body.as_slice()).collect();
    assert!(challenges.len() == asked.len() && asked.len() >= 2);
}

#[tokio::test]
async fn another_host_has_to_prove_itself_and_another_path_has_not() {
    let studio = asking().await;
    let user = studio.user("usr_1");
    let (old, new) = (proving().await, Receiver::answering("200 OK", "OK").await);
    let (path, _) = made(&user, &old.url()).await;
    verified(&user, &path).await;
    let same = user.put(&path, json!({ "url": format!("{}?other", old.url()) })).await.expect(200);
    assert_eq!(same.data()["verification"], "verified");
    let moved = user.put(&path, json!({ "url": new.url() })).await.expect(200);
    assert_eq!(moved.data()["verification"], "pending");
    assert_eq!(moved.data().get("verified_at"), None);
    assert!(studio.store.active_webhooks(&user_id("usr_1")).await.unwrap().is_empty());
    new.arrival().await;
    user.post(&format!("{path}/test"), json!({})).await.expect(409);
    let back = user.put(&path, json!({ "url": old.url() })).await.expect(200);
    assert_eq!(back.data()["verification"], "pending", "what was proved was of then");
    verified(&user, &path).await;
}

#[tokio::test]
async fn an_answer_counts_for_the_host_and_the_secret_that_were_asked() {
    let studio = asking().await;
    let user = studio.user("usr_1");
    for change in
        [json!({ "url": "http://127.0.0.2:1234/" }), json!({ "secret": "another secret of mine" })]
    {
        let asked = AtomicUsize::new(0);
        let rule = move |request: &Received| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => ("503 Service Unavailable", String::new()),
            _ => proof(request, SECRET),
        };
        let endpoint = Receiver::held(Arc::new(rule)).await;
        let (path, _) = made(&user, &endpoint.url()).await;
        endpoint.arrival().await;
        endpoint.release();
        let verify = format!("{path}/verify");
        let meanwhile = async {
            endpoint.arrival().await;
            user.put(&path, change.clone()).await.expect(200);
            endpoint.release();
        };
        let (answer, ()) = tokio::join!(user.send(Method::POST, &verify, None), meanwhile);
        let data = answer.expect(200).data();
        assert_eq!(data["verification"], "pending", "{change}: {data}");
        assert!(data["error"].as_str().unwrap().contains("changed"), "{change}: {data}");
        let stored = studio.store.find_webhook(id(&path)).await.unwrap().unwrap();
        assert!(stored.pending_since.is_some(), "{change}");
        user.delete(&path).await.expect(204);
    }
}

#[tokio::test]
async fn webhooks_that_were_there_before_stay_verified() {
    let studio = asking().await;
    let user = studio.user("usr_1");
    let endpoint = proving().await;
    let (path, _) = made(&user, &endpoint.url()).await;
    verified(&user, &path).await;
    // As the release before, and the setting switched off, leave them.
    studio.sql("UPDATE webhooks SET verified_at = NULL, pending_since = NULL").await;
    user.put(&path, json!({ "name": "other" })).await.expect(200);
    let shown = user.get(&path).await.expect(200).data();
    assert_eq!((&shown["verification"], shown.get("verified_at")), (&json!("verified"), None));
    user.post(&format!("{path}/test"), json!({})).await.expect(200);
}

#[tokio::test]
async fn challenges_are_limited() {
    let config = ApiConfig { verify_endpoints: true, ..ApiConfig::default() };
    let studio = Studio::start_with(config).await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let (path, _) = made(&user, &endpoint.url()).await;
    endpoint.arrival().await;
    let verify = async || user.send(Method::POST, &format!("{path}/verify"), None).await;
    for _ in 0..9 {
        verify().await.expect(200);
    }
    assert_eq!(verify().await.expect(429).code(), "RATE_LIMITED");
    made(&user, &endpoint.url()).await;
    assert_eq!(endpoint.received().len(), 10, "nor unasked");
}

#[tokio::test]
async fn no_question_goes_where_no_delivery_may() {
    let studio = asking().await;
    let user = studio.user("usr_1");
    let (path, _) = made(&user, "http://localhost.invalid/").await;
    studio.sql("UPDATE webhooks SET url = 'http://10.0.0.1/'").await;
    let verify = user.send(Method::POST, &format!("{path}/verify"), None).await.expect(200);
    assert_eq!(verify.data()["verification"], "pending");
    assert_eq!(verify.data().get("status_code"), None);
}
