//! `POST /v1/webhooks/{id}/test`

use domain::Secret;
use reqwest::Method;
use serde_json::json;

use crate::receiver::Receiver;
use crate::studio::Studio;

#[tokio::test]
async fn a_test_reaches_the_endpoint_signed_and_shows_its_answer() {
    let studio = Studio::start().await;
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let user = studio.user("usr_1");
    let body = json!({
        "name": "n", "url": endpoint.url(), "events": ["analysis.*"], "secret": "my_webhook_secret",
    });
    let made = user.post("/v1/webhooks", body).await.expect(201).data();
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());

    let answer = user.send(Method::POST, &format!("{path}/test"), None).await.expect(200);
    answer.assert_begins_with(&["delivered", "status_code", "response_time_ms", "response_body"]);
    let data = answer.data();
    assert_eq!(data["delivered"], true);
    assert_eq!(data["status_code"], 200);
    assert_eq!(data["response_body"], "OK");
    assert!(data["response_time_ms"].is_u64());

    let received = endpoint.received();
    assert_eq!(received.len(), 1);
    let secret = Secret::new("my_webhook_secret");
    assert!(domain::verify(
        &secret,
        &received[0].body,
        received[0].header("x-sentimatrix-signature")
    ));
    assert_eq!(received[0].header("x-sentimatrix-event"), "analysis.started", "the first type");
    assert_eq!(received[0].header("x-sentimatrix-delivery"), data["log_id"]);

    let logs = user.get(&format!("{path}/logs")).await.expect(200).data();
    assert_eq!(logs[0]["id"], data["log_id"]);
    assert_eq!(logs[0]["test"], true);
    assert_eq!(logs[0]["status"], "success");
    let webhook = user.get(&path).await.data();
    assert_eq!(webhook["success_rate"], json!(null), "tests are not counted");
}

#[tokio::test]
async fn a_failed_test_says_why_and_is_not_retried() {
    let studio = Studio::start().await;
    let endpoint = Receiver::answering("500 Internal Server Error", "oh").await;
    let user = studio.user("usr_1");
    let id = user.webhook(&endpoint.url()).await;
    let path = format!("/v1/webhooks/{id}/test");
    let answer = user.post(&path, json!({ "event": "project.deleted" })).await.expect(200);
    answer.assert_begins_with(&["delivered", "error", "status_code"]);
    let data = answer.data();
    assert_eq!(data["delivered"], false);
    assert_eq!(data["error"], "Internal Server Error");
    assert_eq!(data["status_code"], 500);
    assert_eq!(endpoint.received()[0].header("x-sentimatrix-event"), "project.deleted");

    let logs = user.get(&format!("/v1/webhooks/{id}/logs")).await.data();
    assert_eq!(logs[0]["status"], "failed");
    assert_eq!(logs[0]["retry_count"], 0);
    assert_eq!(logs[0]["next_attempt_at"], json!(null));
    assert_eq!(endpoint.received().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_has_no_status() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id = user.webhook(&format!("http://{free}/")).await;
    let answer = user.post(&format!("/v1/webhooks/{id}/test"), json!({})).await.expect(200);
    let data = answer.data();
    assert_eq!(data["delivered"], false);
    assert_eq!(data["error"], "Connection refused");
    assert_eq!(data["status_code"], json!(null));
    assert!(answer.text.contains(r#""status_code":null"#), "present, as the specification shows");
}

#[tokio::test]
async fn a_test_of_an_unknown_type_names_the_field() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}/test", user.webhook("https://example.com/").await);
    for wrong in [json!("scrape.exploded"), json!("*"), json!(1), json!(null)] {
        let answer = user.post(&path, json!({ "event": wrong, "more": 1 })).await.expect(422);
        assert_eq!(answer.fields(), ["event", "more"]);
    }
}
