//! Jobs: what is asked for, shown and cancelled. The dispatcher runs them (system tests).

use reqwest::Method;
use serde_json::json;

use crate::studio::Studio;

const SINCE: &str = "2026-01-01T00:00:00Z";

#[tokio::test]
async fn a_job_is_accepted_shown_and_cancelled() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook("https://example.com/").await);
    let range = json!({ "since": SINCE, "until": "2026-01-02T00:00:00.5+02:00", "status": "all" });
    let made = user.post(&format!("{path}/redeliver"), range).await.expect(202).data();
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("job_"), "{id}");
    assert_eq!((&made["kind"], &made["status"]), (&json!("redelivery"), &json!("pending")));
    assert_eq!((&made["since"], &made["deliveries"]), (&json!(SINCE), &json!("all")));
    assert_eq!(made["until"], "2026-01-01T22:00:00.5Z");
    let none = json!({ "total": 0, "total_capped": false, "done": 0, "skipped": 0, "failed": 0 });
    assert_eq!(made["progress"], none);
    let replay = user.post(&format!("{path}/replay"), json!({ "since": SINCE })).await.expect(202);
    assert_eq!(replay.data()["kind"], "replay");
    assert_eq!(replay.data().get("deliveries"), None);

    let listed = user.get(&format!("{path}/jobs?limit=1")).await.expect(200);
    assert_eq!(listed.data(), json!([replay.data()]), "newest first");
    assert_eq!(listed.json()["meta"]["pagination"]["total"], 2);
    assert_eq!(user.get(&format!("{path}/jobs/{id}")).await.expect(200).data(), made);

    let cancel = format!("{path}/jobs/{id}/cancel");
    for _ in 0..2 {
        let cancelled = user.send(Method::POST, &cancel, None).await.expect(200).data();
        assert_eq!(cancelled["status"], "cancelled");
        assert_eq!(cancelled["reason"], "cancelled by its user");
        assert!(cancelled["finished_at"].is_string());
    }
}

#[tokio::test]
async fn every_wrong_field_of_a_range_is_named() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook("https://example.com/").await);
    let wrong = json!({ "since": "yesterday", "until": 7, "status": "pending", "limit": 5 });
    let answer = user.post(&format!("{path}/redeliver"), wrong).await.expect(422);
    assert_eq!(answer.fields(), ["since", "until", "status", "limit"]);
    for range in [
        json!({}),
        json!({ "since": "2999-01-01T00:00:00Z" }),
        json!({ "since": SINCE, "until": SINCE }),
        json!({ "since": "1969-12-31T23:59:59Z" }),
        json!({ "since": "9999-12-31T23:59:59-23:59" }),
    ] {
        for of in ["redeliver", "replay"] {
            let answer = user.post(&format!("{path}/{of}"), range.clone()).await.expect(422);
            assert_eq!(answer.fields(), ["since"], "{range}");
        }
    }
    let answer =
        user.post(&format!("{path}/replay"), json!({ "since": SINCE, "status": "all" })).await;
    assert_eq!(answer.expect(422).fields(), ["status"]);
}

#[tokio::test]
async fn a_webhook_that_is_off_takes_no_job() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook("https://example.com/").await);
    user.put(&path, json!({ "active": false })).await.expect(200);
    for of in ["redeliver", "replay"] {
        let answer = user.post(&format!("{path}/{of}"), json!({ "since": SINCE })).await;
        assert_eq!(answer.expect(409).code(), "CONFLICT");
    }
}

#[tokio::test]
async fn a_user_has_ten_jobs_under_way_at_most() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook("https://example.com/").await);
    let ask = async || user.post(&format!("{path}/replay"), json!({ "since": SINCE })).await;
    let mut last = String::new();
    for _ in 0..10 {
        last = ask().await.expect(202).data()["id"].as_str().unwrap().to_owned();
    }
    assert_eq!(ask().await.expect(409).code(), "CONFLICT");
    user.send(Method::POST, &format!("{path}/jobs/{last}/cancel"), None).await.expect(200);
    ask().await.expect(202);
}

#[tokio::test]
async fn a_job_asked_for_again_after_a_crash_is_the_same_job() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook("https://example.com/").await);
    let ask = async || {
        let body = Some(json!({ "since": SINCE }).to_string());
        let headers = [("idempotency-key", "k")];
        user.send_with(Method::POST, &format!("{path}/redeliver"), body, &headers).await
    };
    let first = ask().await.expect(202).data();
    let forget = "UPDATE idempotency_keys SET status = NULL, answer = NULL, locked_until = 0";
    studio.sql(forget).await;
    assert_eq!(ask().await.expect(202).data()["id"], first["id"]);
    assert_eq!(user.get(&format!("{path}/jobs")).await.data().as_array().unwrap().len(), 1);
}
