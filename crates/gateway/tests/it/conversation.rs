//! Subscribing, and what comes then.

use domain::{Event, Origin};
use serde_json::json;

use crate::studio::{Client, Studio, request, sized_event, token};

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_sent_the_very_payload_of_the_webhook() {
    let studio = Studio::start().await;
    let mut client = studio.watching("ann", "proj_1").await;
    let payload = studio.publish("evt_1", "ann", "proj_1").await;
    assert_eq!(client.text().await.as_bytes(), payload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_event_arrives_whole_and_so_does_the_one_behind_it() {
    let studio = Studio::start().await;
    let mut client = studio.watching("ann", "*").await;
    for (id, size) in [("evt_1", 200_000), ("evt_2", 70_000), ("evt_3", 200), ("evt_4", 8_000)] {
        let event = sized_event(id, "ann", "proj_1", size);
        studio.send(&event).await;
        assert_eq!(client.text().await.as_bytes(), event.payload, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_projects_asked_for_are_told_until_they_are_left() {
    let studio = Studio::start().await;
    let mut client = studio.watching("ann", "proj_1").await;
    let mut all = studio.watching("ann", "*").await;
    studio.publish("evt_1", "ann", "proj_2").await;
    studio.publish("evt_2", "ann", "proj_1").await;
    assert_eq!((all.event_id().await, all.event_id().await), ("evt_1".into(), "evt_2".into()));
    assert_eq!(client.event_id().await, "evt_2");
    let left = client.ask(&json!({ "type": "unsubscribe", "project_id": "proj_1" })).await;
    assert_eq!(left, json!({ "type": "unsubscribed", "project_id": "proj_1" }));
    studio.publish("evt_3", "ann", "proj_1").await;
    assert_eq!(all.event_id().await, "evt_3");
    client.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_another_users_project() {
    let studio = Studio::start().await;
    let mut ann = studio.watching("ann", "proj_1").await;
    let mut bob = studio.watching("bob", "proj_1").await;
    let mut bob_all = studio.watching("bob", "*").await;
    studio.publish("evt_1", "ann", "proj_1").await;
    assert_eq!(ann.event_id().await, "evt_1");
    bob.has_nothing().await;
    bob_all.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_once_although_the_project_and_everything_match() {
    let studio = Studio::start().await;
    let mut client = studio.watching("ann", "proj_1").await;
    client.subscribe("*").await;
    client.subscribe("proj_1").await;
    studio.publish("evt_1", "ann", "proj_1").await;
    studio.publish("evt_1", "ann", "proj_1").await;
    studio.publish("evt_2", "ann", "proj_1").await;
    assert_eq!(client.event_id().await, "evt_1");
    assert_eq!(client.event_id().await, "evt_2", "the publisher's copy is dropped too");
    client.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_types_asked_for_are_told() {
    let studio = Studio::start().await;
    let mut client = studio.client("ann").await;
    let subscribe = |events| json!({ "type": "subscribe", "project_id": "*", "events": events });
    let refused = client.ask(&subscribe(json!(["scrape.exploded"]))).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("BAD_EVENTS")));
    assert_eq!(client.ask(&subscribe(json!(["project.*"]))).await["type"], "subscribed");
    studio.publish("evt_1", "ann", "proj_1").await;
    let text = r#"{"id":"evt_2","event":"project.created","timestamp":"2026-02-02T12:00:00Z","user_id":"ann","data":{"project_id":"proj_1"}}"#;
    studio.send(&Event::from_json(text.as_bytes(), &Origin::default()).unwrap()).await;
    assert_eq!(client.event_id().await, "evt_2");
    assert_eq!(client.ask(&subscribe(json!(["scrape.completed"]))).await["type"], "subscribed");
    studio.publish("evt_3", "ann", "proj_1").await;
    assert_eq!(client.event_id().await, "evt_3");
}

#[tokio::test(flavor = "multi_thread")]
async fn studios_web_client_may_say_action_for_type() {
    let studio = Studio::start().await;
    let mut client = studio.client("ann").await;
    let answer =
        client.ask(&json!({ "action": "subscribe", "project_id": "proj_1", "id": 5 })).await;
    assert_eq!(answer, json!({ "type": "subscribed", "project_id": "proj_1", "id": 5 }));
    assert_eq!(client.ask(&json!({ "action": "ping" })).await, json!({ "type": "pong" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_means_nothing_is_an_error_and_the_connection_stays() {
    let studio = Studio::start().await;
    let mut client = studio.client("ann").await;
    for (message, code) in [
        (json!({ "type": "dance", "id": "a" }), "BAD_MESSAGE"),
        (json!({ "type": "subscribe", "id": "a" }), "BAD_MESSAGE"),
        (json!({ "type": "subscribe", "id": "a", "project_id": "two words" }), "BAD_PROJECT"),
    ] {
        let answer = client.ask(&message).await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!("a")));
        assert_eq!(answer["code"], code);
    }
    client.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_close_is_answered_with_its_code() {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    let studio = Studio::start().await;
    let mut client = studio.client("ann").await;
    let frame = CloseFrame { code: 4999.into(), reason: "bye".into() };
    client.socket.close(Some(frame)).await.unwrap();
    assert_eq!(client.closed().await, Some(4999));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_the_rules_when_it_connects() {
    let studio = Studio::start().await;
    let url = request(studio.address, &format!("?token={}", token("ann")));
    let (mut client, _) = Client::open(url).await.unwrap();
    let connected = client.json().await;
    assert_eq!(connected["protocol"], 1);
    assert_eq!(connected["ping_interval_ms"], 30_000);
    assert_eq!(connected["limits"]["message_bytes"], 4_096);
    assert!(connected["connection_id"].as_str().unwrap().starts_with("conn_"));
    assert!(connected["token_expires_at"].as_str().unwrap().ends_with('Z'));
}
