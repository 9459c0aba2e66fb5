//! Logs: a delivery with what became of it.

use std::time::Duration;

use broker::Queue;
use domain::{
    AttemptFailure, AttemptReport, Cause, DeliveryId, DeliveryStatus, DeliveryTask, FailureKind,
    WebhookId,
};
use reqwest::Method;
use serde_json::json;
use store::{Outcome, Waits};
use time::OffsetDateTime;

use crate::studio::{Studio, event, user_id};

/// The outcome of attempt `attempt` of the delivery of event `id`; a status below 300 succeeds.
pub(crate) fn outcome(webhook: &str, id: &str, attempt: u32, answer: u16, last: bool) -> Outcome {
    let webhook: WebhookId = webhook.parse().unwrap();
    let event = event("usr_1", id);
    let failed = answer >= 300;
    let failure = failed.then(|| AttemptFailure {
        kind: FailureKind::Status,
        text: "Internal Server Error".to_owned(),
    });
    Outcome {
        delivery: DeliveryId::derive(&event.user, &event.id, webhook, ""),
        webhook,
        event,
        cause: Cause::Event,
        attempt,
        report: Some(AttemptReport {
            started_at: OffsetDateTime::now_utc(),
            duration: Duration::from_millis(145),
            status: Some(answer),
            address: Some("203.0.113.7:443".parse().unwrap()),
            response: "answer".into(),
            retry_after: None,
            failure,
        }),
        status: match (failed, last) {
            (false, _) => DeliveryStatus::Success,
            (true, true) => DeliveryStatus::Failed,
            (true, false) => DeliveryStatus::Retrying,
        },
        next_attempt_at: (failed && !last)
            .then(|| OffsetDateTime::now_utc() + Duration::from_secs(60)),
        waits: Waits::No,
        reason: None,
    }
}

/// The delivery of event `id` at place `place` of the webhook's backlog.
pub(crate) fn waiting(webhook: &str, id: &str, place: i64) -> Outcome {
    Outcome {
        attempt: 0,
        report: None,
        status: DeliveryStatus::Pending,
        next_attempt_at: None,
        waits: Waits::InBacklog { partition: 0, place },
        ..outcome(webhook, id, 1, 200, true)
    }
}

async fn record(studio: &Studio, outcomes: &[Outcome]) {
    studio.store.record(outcomes).await.unwrap();
}

#[tokio::test]
async fn logs_have_the_fields_of_the_specification() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    record(&studio, &[outcome(&id, "evt_good", 1, 200, true)]).await;
    let path = format!("/v1/webhooks/{id}/logs");
    let answer = user.get(&path).await.expect(200);
    answer.assert_begins_with(&[
        "id",
        "event",
        "status",
        "status_code",
        "response_time_ms",
        "triggered_at",
        "payload_size_bytes",
    ]);
    let log = &answer.data()[0];
    assert!(log["id"].as_str().unwrap().starts_with("log_"));
    assert_eq!(log["event"], "scrape.completed");
    assert_eq!(log["status"], "success");
    assert_eq!(log["status_code"], 200);
    assert_eq!(log["response_time_ms"], 145);
    assert_eq!(log["payload_size_bytes"], event("usr_1", "evt_good").payload.len());
    assert!(log.get("error").is_none());

    let all: Vec<_> = (1..=5).map(|n| outcome(&id, "evt_bad", n, 500, n == 5)).collect();
    record(&studio, &all).await;
    let answer = user.get(&format!("{path}?status=failed")).await.expect(200);
    answer.assert_begins_with(&[
        "id",
        "event",
        "status",
        "status_code",
        "error",
        "triggered_at",
        "retry_count",
    ]);
    let failed = answer.data();
    assert_eq!(failed.as_array().unwrap().len(), 1);
    assert_eq!(failed[0]["error"], "Internal Server Error");
    assert_eq!(failed[0]["status_code"], 500);
    assert_eq!(failed[0]["retry_count"], 4);
    assert_eq!(user.get(&format!("/v1/webhooks/{id}")).await.data()["success_rate"], 0.5);
}

#[tokio::test]
async fn a_log_tells_what_waits_what_is_tried_for_long_and_what_was_given_up() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let later = Some(OffsetDateTime::now_utc() + Duration::from_secs(60));
    let tried =
        Outcome { waits: Waits::Parked, next_attempt_at: later, ..waiting(&id, "evt_tried", 0) };
    // As the first of an ordered webhook's deliveries waits that has failed.
    let first = Outcome { next_attempt_at: later, ..waiting(&id, "evt_first", 0) };
    let reason = "endpoint did not answer since 2026-02-02T12:00:00Z";
    let given_up = Outcome {
        status: DeliveryStatus::Failed,
        waits: Waits::No,
        reason: Some(reason.to_owned()),
        ..waiting(&id, "evt_given_up", 0)
    };
    let shown = async |outcome: Outcome| {
        record(&studio, std::slice::from_ref(&outcome)).await;
        let path = format!("/v1/webhooks/{id}/logs/{}", outcome.delivery);
        user.get(&path).await.expect(200).data()
    };
    let waits = shown(waiting(&id, "evt_waits", 1)).await;
    assert_eq!((&waits["status"], &waits["waiting"]), (&json!("pending"), &json!(true)));
    assert_eq!(waits["next_attempt_at"], json!(null));
    let first = shown(first).await;
    assert_eq!((&first["waiting"], &first["next_attempt_at"]), (&json!(true), &json!(null)));
    let tried = shown(tried).await;
    assert_eq!((&tried["status"], &tried["waiting"]), (&json!("pending"), &json!(false)));
    assert_eq!(tried["next_attempt_at"], json!(null));
    let given_up = shown(given_up).await;
    assert_eq!((&given_up["status"], &given_up["waiting"]), (&json!("failed"), &json!(false)));
    assert_eq!((&given_up["error"], &given_up["attempts"]), (&json!(reason), &json!([])));
    let sent = shown(outcome(&id, "evt_waits", 1, 500, false)).await;
    assert_eq!((&sent["status"], &sent["waiting"]), (&json!("retrying"), &json!(false)));
    assert!(sent["next_attempt_at"].is_string());
}

#[tokio::test]
async fn logs_are_filtered_and_paged() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let outcomes = [
        outcome(&id, "evt_1", 1, 200, true),
        outcome(&id, "evt_2", 1, 500, false),
        outcome(&id, "evt_3", 1, 200, true),
    ];
    record(&studio, &outcomes).await;
    let count = async |query: &str| {
        let answer = user.get(&format!("/v1/webhooks/{id}/logs?{query}")).await.expect(200);
        answer.data().as_array().unwrap().len()
    };
    assert_eq!(count("status=success").await, 2);
    assert_eq!(count("status=retrying").await, 1);
    assert_eq!(count("status=pending").await, 0);
    assert_eq!(count("event=scrape.completed").await, 3);
    assert_eq!(count("event=scrape.failed").await, 0);
    assert_eq!(count("limit=2&page=2").await, 1);
    assert_eq!(count("since=2020-01-01T00:00:00Z").await, 3);
    assert_eq!(count("until=2020-01-01T00:00:00%2B02:00").await, 0);
    assert_eq!(count("page=1000&limit=100").await, 0);
}

#[tokio::test]
async fn a_log_is_read_to_its_end_by_cursors_while_deliveries_go_on() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let old: Vec<_> = (1..=5).map(|n| outcome(&id, &format!("evt_{n}"), 1, 200, true)).collect();
    record(&studio, &old).await;
    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    for page in 1_u64..=3 {
        let answer = user.get(&format!("/v1/webhooks/{id}/logs?{query}")).await.expect(200);
        let found = answer.data();
        let found = found.as_array().unwrap();
        seen.extend(found.iter().map(|log| log["event_id"].as_str().unwrap().to_owned()));
        let pagination = &answer.json()["meta"]["pagination"];
        let expected = json!({
            "page": page, "limit": 2, "total": 4 + page, "total_pages": (4 + page).div_ceil(2),
            "has_next": page < 3, "has_prev": page > 1, "total_capped": false,
            "next_cursor": pagination["next_cursor"],
        });
        assert_eq!(*pagination, expected);
        match pagination["next_cursor"].as_str() {
            Some(cursor) => query = format!("limit=2&cursor={cursor}"),
            None => assert_eq!(page, 3),
        }
        record(&studio, &[outcome(&id, &format!("evt_new_{page}"), 1, 200, true)]).await;
    }
    assert_eq!(seen, ["evt_5", "evt_4", "evt_3", "evt_2", "evt_1"]);
}

#[tokio::test]
async fn one_log_shows_the_very_body_and_every_attempt() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let outcomes = [outcome(&id, "evt_1", 1, 500, false), outcome(&id, "evt_1", 2, 200, true)];
    record(&studio, &outcomes).await;
    let path = format!("/v1/webhooks/{id}/logs/{}", outcomes[0].delivery);
    let log = user.get(&path).await.expect(200).data();
    assert_eq!(log["status"], "success");
    assert_eq!(log["request"]["body"].as_str().unwrap().as_bytes(), outcomes[0].event.payload);
    let attempts = log["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["number"], 1);
    assert_eq!(attempts[0]["error_kind"], "status");
    assert_eq!(attempts[0]["response_body"], "answer");
    assert_eq!(attempts[0]["address"], "203.0.113.7:443");
    assert_eq!(attempts[1]["status_code"], 200);

    let event = user.get("/v1/events/evt_1").await.expect(200);
    assert_eq!(event.data()["deliveries"][0]["webhook_id"], id.as_str());
    assert!(event.text.contains(r#""n":-0.20"#), "byte for byte: {}", event.text);
}

#[tokio::test]
async fn a_redelivery_is_a_delivery_of_its_own() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let first = outcome(&id, "evt_1", 1, 200, true);
    record(&studio, std::slice::from_ref(&first)).await;
    let path = format!("/v1/webhooks/{id}/logs/{}/redeliver", first.delivery);
    let answer = user.send(Method::POST, &path, None).await.expect(202).data();
    assert_ne!(answer["id"], first.delivery.to_string());

    let message = studio.next_of(Queue::Deliver).await;
    let event = message.event().unwrap();
    let task = DeliveryTask::from_headers(event, |name| message.header(name)).unwrap();
    assert_eq!(task.id.to_string(), answer["id"].as_str().unwrap());
    assert_eq!((task.attempt, task.cause), (1, Cause::Redelivery));
    assert_eq!(task.event.payload, first.event.payload);
    assert_eq!(task.event.user, user_id("usr_1"));

    let path = format!("/v1/webhooks/{id}/logs/{}", answer["id"].as_str().unwrap());
    let log = user.get(&path).await.expect(200).data();
    assert_eq!(log["status"], "pending");
    assert_eq!(log["cause"], "redelivery");
}

#[tokio::test]
async fn a_webhook_that_is_off_takes_no_redelivery() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let first = outcome(&id, "evt_1", 1, 200, true);
    record(&studio, std::slice::from_ref(&first)).await;
    user.put(&format!("/v1/webhooks/{id}"), json!({ "active": false })).await.expect(200);
    let path = format!("/v1/webhooks/{id}/logs/{}/redeliver", first.delivery);
    let answer = user.send(Method::POST, &path, None).await.expect(409);
    assert_eq!(answer.code(), "CONFLICT");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    for (query, field) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.5", "page"),
        ("page=abc", "page"),
        ("page=", "page"),
        ("page=1001", "page"),
        ("page=1000000", "page"),
        ("page=1000000000", "page"),
        ("page=9223372036854775808", "page"),
        ("page=1&page=2", "page"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=5", "limit"),
        ("cursor=", "cursor"),
        ("cursor=2", "cursor"),
        ("cursor=dAAAA", "cursor"),
        ("cursor=%00", "cursor"),
        // Of a list of webhooks.
        ("cursor=wAAAAAAAAAAAAAAAAAAAAAAAA", "cursor"),
        ("status=done", "status"),
        ("event=scrape.*", "event"),
        ("since=yesterday", "since"),
        ("until=2026-01-01", "until"),
        ("colour=red", "colour"),
    ] {
        let answer = user.get(&format!("/v1/webhooks/{id}/logs?{query}")).await.expect(422);
        assert_eq!(answer.fields(), [field], "{query}");
    }
    let answer = user.get(&format!("/v1/webhooks/{id}/logs?page=0&limit=0&x=1")).await.expect(422);
    assert_eq!(answer.fields(), ["page", "limit", "x"], "all at once");
}
