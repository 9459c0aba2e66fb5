//! `POST /v1/events`

use broker::Queue;
use domain::EventType;
use serde_json::{Value, json};

use crate::studio::Studio;

fn text(data: &str) -> String {
    format!(
        r#"{{"id":"evt_1","event":"alert.sentiment_drop","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{data}}}"#
    )
}

async fn publish(studio: &Studio, body: impl Into<String>) -> crate::studio::Answer {
    let body = Some(body.into());
    studio.service().send(reqwest::Method::POST, "/v1/events", body).await
}

#[tokio::test]
async fn an_accepted_event_stands_in_the_queue_byte_for_byte() {
    let studio = Studio::start().await;
    let data = r#"{ "change": -0.20, "big":123456789012345678901234567890, "u":"\u00e9\/", "project_id":"p" }"#;
    let answer = publish(&studio, text(data)).await.expect(202);
    assert_eq!(answer.data(), json!({ "id": "evt_1", "event": "alert.sentiment_drop" }));
    let message = studio.next_of(Queue::Dispatch).await;
    let event = message.event().unwrap();
    assert_eq!(event.data(), data);
    assert_eq!(event.kind, EventType::AlertSentimentDrop);
    assert_eq!(event.user.as_str(), "usr_1");
    assert_eq!(event.timestamp.as_ref(), "2026-02-02T12:00:00Z");
}

#[tokio::test]
async fn id_and_time_are_made_and_the_trace_is_passed_on() {
    let studio = Studio::start().await;
    let body = json!({ "event": "project.created", "user_id": "usr_1", "data": {} }).to_string();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = studio
        .service()
        .send_with(reqwest::Method::POST, "/v1/events", Some(body), &[("traceparent", trace)])
        .await
        .expect(202);
    let event = studio.next_of(Queue::Dispatch).await.event().unwrap();
    assert_eq!(answer.data()["id"], event.id.as_str());
    assert!(event.id.as_str().starts_with("evt_"));
    assert_eq!(event.traceparent.as_deref(), Some(trace));
}

#[tokio::test]
async fn a_batch_answers_each_of_its_events() {
    let studio = Studio::start().await;
    let body = json!({ "events": [
        { "id": "evt_a", "event": "scrape.started", "user_id": "usr_1", "data": {} },
        { "id": "evt b", "event": "scrape.exploded", "user_id": "usr_1", "data": {} },
        7,
        { "id": "evt_d", "event": "scrape.failed", "user_id": "usr_2", "data": {} },
    ] });
    let data = publish(&studio, body.to_string()).await.expect(202).data();
    assert_eq!((&data["accepted"], &data["rejected"]), (&json!(2), &json!(2)));
    let results = data["results"].as_array().unwrap();
    assert_eq!(results[0], json!({ "status": "accepted", "id": "evt_a" }));
    assert_eq!(results[1]["status"], "rejected");
    assert_eq!(results[1]["code"], "VALIDATION_ERROR");
    assert_eq!(results[1]["details"][0]["field"], "id");
    assert_eq!(results[1]["details"][1]["field"], "event");
    assert_eq!(results[2]["details"][0]["field"], "body");
    assert_eq!(results[3]["id"], "evt_d");
    assert_eq!(studio.broker.depth(Queue::Dispatch).await.unwrap(), 2);
}

#[tokio::test]
async fn a_batch_with_nothing_right_is_refused() {
    let studio = Studio::start().await;
    let answer = publish(&studio, r#"{"events":[{"event":"x","user_id":"u"}, []]}"#).await;
    assert_eq!(
        answer.expect(422).fields(),
        ["events[0].event", "events[0].data", "events[1].body"]
    );
    let empty = publish(&studio, r#"{"events":[]}"#).await.expect(422);
    assert_eq!(empty.fields(), ["events"]);
    let many = format!(r#"{{"events":[{}]}}"#, vec![text("{}"); 1_001].join(","));
    assert_eq!(publish(&studio, many).await.expect(422).fields(), ["events"]);
    let mixed = publish(&studio, r#"{"events":[],"id":"evt_1"}"#).await.expect(422);
    assert_eq!(mixed.fields(), ["events"]);
}

#[tokio::test]
async fn a_full_batch_of_a_thousand_is_taken() {
    let studio = Studio::start().await;
    let events: Vec<Value> = (0..1_000)
        .map(|i| json!({ "id": format!("evt_{i}"), "event": "scrape.started", "user_id": "u", "data": {} }))
        .collect();
    let data = publish(&studio, json!({ "events": events }).to_string()).await.expect(202).data();
    assert_eq!(data["accepted"], 1_000);
    assert_eq!(studio.broker.depth(Queue::Dispatch).await.unwrap(), 1_000);
}

#[tokio::test]
async fn every_wrong_field_of_an_event_is_named() {
    let studio = Studio::start().await;
    let body = json!({
        "id": "a b", "event": "scrape.exploded", "timestamp": "today", "user_id": "", "data": 1,
        "extra": true,
    });
    let answer = publish(&studio, body.to_string()).await.expect(422);
    assert_eq!(answer.fields(), ["extra", "id", "event", "timestamp", "user_id", "data"]);
    let answer = publish(&studio, text(r#"{"project_id":7}"#)).await.expect(422);
    assert_eq!(answer.fields(), ["data.project_id"]);
    assert_eq!(studio.broker.depth(Queue::Dispatch).await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_over_256_kib_is_too_large_and_one_of_256_kib_is_not() {
    let studio = Studio::start().await;
    let of = |bytes: usize| {
        let frame = text(r#"{"x":""}"#).len();
        text(&format!(r#"{{"x":"{}"}}"#, "a".repeat(bytes - frame)))
    };
    publish(&studio, of(256 * 1024)).await.expect(202);
    let answer = publish(&studio, of(256 * 1024 + 1)).await.expect(413);
    assert_eq!(answer.code(), "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_and_the_publisher_asked_to_come_again() {
    let studio = Studio::start().await;
    studio.broker.close().await;
    for body in [text("{}"), format!(r#"{{"events":[{}]}}"#, text("{}"))] {
        let answer = publish(&studio, body).await.expect(503);
        assert_eq!(answer.code(), "SERVICE_UNAVAILABLE");
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
    }
}
