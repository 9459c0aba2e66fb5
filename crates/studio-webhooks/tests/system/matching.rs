//! Who receives what.

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio};

async fn only_those_who_asked_are_told(backend: Backend) {
    let studio = Studio::start(backend).await;
    let wanting = Endpoint::answering([200]).await;
    let everything = Endpoint::answering([200]).await;
    let nobody = Endpoint::answering([200]).await;
    let asked = json!({ "events": ["scrape.completed"], "project_ids": ["p1"] });
    studio.webhook("usr_1", &wanting.url(), asked.clone()).await;
    studio.webhook("usr_1", &everything.url(), json!({ "project_ids": [] })).await;
    // Another user, another type, another project, switched off, deleted.
    studio.webhook("usr_2", &nobody.url(), asked).await;
    studio.webhook("usr_1", &nobody.url(), json!({ "events": ["scrape.failed"] })).await;
    studio.webhook("usr_1", &nobody.url(), json!({ "project_ids": ["p2"] })).await;
    studio.webhook("usr_1", &nobody.url(), json!({ "active": false })).await;
    let deleted = studio.webhook("usr_1", &nobody.url(), json!({})).await;
    let token = studio.token("usr_1", "user");
    let path = format!("/v1/webhooks/{}", deleted.id);
    assert_eq!(studio.call("DELETE", &path, &token, None).await.0, 204);
    assert_eq!(studio.call("DELETE", &path, &token, None).await.0, 404);
    // A deletion counts from one second after its answer.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;

    let first = Published::in_project("usr_1", "p1");
    studio.publish(&first).await;
    wanting.wait_for(1).await;
    everything.wait_for(1).await;
    assert_eq!(wanting.requests()[0].text(), first.payload());

    // Whatever was wrongly matched with the first has arrived before this one.
    let last = Published::new("usr_1", "project.created", r#"{"project_id":"p1"}"#);
    studio.publish(&last).await;
    let seen = everything.wait_for(2).await;
    assert_eq!(seen[1].text(), last.payload());
    assert_eq!(wanting.count(), 1);
    // Only the webhook of "p2" might still be asked: its events are not these.
    assert_eq!(nobody.count(), 0);
}

async fn a_filter_lets_only_matching_events_arrive(backend: Backend) {
    let studio = Studio::start(backend).await;
    let (bad, everything) = (Endpoint::answering([200]).await, Endpoint::answering([200]).await);
    let filter = json!({
        "summary.avg_sentiment": { "$lt": 0.5 },
        "$or": [{ "project_name": { "$prefix": "Amazön" } }, { "tags": { "$in": ["vip", 7] } }],
    });
    let filtered = studio.webhook("usr_1", &bad.url(), json!({ "filter": filter })).await;
    studio.webhook("usr_1", &everything.url(), json!({})).await;
    let data = [
        (true, r#"{"summary": {"avg_sentiment":4.9e-1}, "project_name":"Amaz\u00f6n Tracker"}"#),
        (true, r#"{"summary":{"avg_sentiment":-1},"tags":["new","v\u0069p"]}"#),
        (false, r#"{"summary":{"avg_sentiment":0.5},"tags":["vip"]}"#),
        (false, r#"{"summary":{"avg_sentiment":0.1},"tags":["new"]}"#),
        (false, r#"{"summary":{},"tags":["vip"]}"#),
        (false, r#"{"tags":["vip"]}"#),
        (false, r#"{"summary":{"avg_sentiment":"0.1"},"tags":["vip"]}"#),
    ];
    let events = data.map(|(_, data)| Published::new("usr_1", "analysis.completed", data));
    studio.publish_all(&events).await;
    everything.wait_for(events.len()).await;
    // The filter taken off, the next event arrives: whatever was let through is there by then.
    let token = studio.token("usr_1", "user");
    let path = format!("/v1/webhooks/{}", filtered.id);
    let off = json!({ "filter": null });
    assert_eq!(studio.call("PATCH", &path, &token, Some(&off)).await.0, 200);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let last = Published::new("usr_1", "analysis.completed", "{}");
    studio.publish(&last).await;
    let mut seen: Vec<String> = bad.wait_for(3).await.iter().map(|r| r.text()).collect();
    let wanted = data.iter().zip(&events).filter(|((wanted, _), _)| *wanted);
    let mut expected: Vec<String> = wanted.map(|(_, event)| event.payload()).collect();
    expected.push(last.payload());
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

async fn the_same_event_published_twice_is_delivered_once(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.webhook("usr_2", &endpoint.url(), json!({})).await;
    let event = Published::in_project("usr_1", "p");
    let other_body = Published { data: r#"{"project_id":"other"}"#.into(), ..event.clone() };
    let other_user = Published { user: "usr_2".into(), ..event.clone() };
    for copy in [&event, &event, &other_body, &other_user] {
        studio.publish(copy).await;
    }
    let marker = Published::in_project("usr_1", "marker");
    studio.publish(&marker).await;
    endpoint.wait_for(3).await;
    let bodies: Vec<String> = endpoint.requests().iter().map(|r| r.text()).collect();
    assert_eq!(bodies.iter().filter(|body| **body == event.payload()).count(), 2, "{bodies:?}");
    assert!(!bodies.contains(&other_body.payload()), "the first body wins");
    assert_eq!(bodies.len(), 3, "once for each user, and the marker: {bodies:?}");
}

async fn a_webhook_counts_from_100_ms_after_its_answer(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    for round in 0..20 {
        let user = format!("usr_new_{round}");
        // So that "this user has no webhook" is remembered.
        studio.publish(&Published::in_project(&user, "before")).await;
        studio.webhook(&user, &endpoint.url(), json!({})).await;
        studio.publish(&Published::in_project(&user, "after")).await;
    }
    endpoint.wait_for(20).await;
}

on_both!(
    only_those_who_asked_are_told,
    a_filter_lets_only_matching_events_arrive,
    the_same_event_published_twice_is_delivered_once,
    a_webhook_counts_from_100_ms_after_its_answer,
);
