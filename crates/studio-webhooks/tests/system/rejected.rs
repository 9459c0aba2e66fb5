//! What is no event is kept with its reason, and holds up nothing.

use bench::usage::peak_mib;
use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::publishing::publish_raw;
use crate::support::studio::{Backend, Studio};

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_no_event_are_kept_with_their_reason() {
    let studio = Studio::start(Backend::Servers).await;
    let url = studio.amqp_url.clone().unwrap();
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let good = Published::in_project("usr_1", "p");
    let with = |from: &str, to: &str| good.message().replace(from, to).into_bytes();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(300 * 1024));
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"{".to_vec()),
        ("not_json", Vec::new()),
        ("not_utf8", vec![0xff, 0xfe]),
        ("missing_user_id", with(r#""user_id":"usr_1","#, "")),
        ("missing_id", with(&format!(r#""id":"{}","#, good.id), "")),
        ("unknown_type", with("scrape.completed", "scrape.exploded")),
        ("invalid_timestamp", with("2026-02-02T12:00:00Z", "yesterday")),
        ("invalid_data", with(&good.data, "[]")),
        ("too_deep", with(&good.data, &deep)),
        ("lone_surrogate", with(&good.data, r#"{"a":"\ud800"}"#)),
        ("wrong_field", with(r#""usr_1""#, "7")),
        ("too_large", with(&good.data, &large)),
    ];
    let messages: Vec<(String, Vec<u8>)> = bad
        .iter()
        .map(|(reason, body)| {
            let key =
                if *reason == "unknown_type" { "scrape.exploded" } else { "scrape.completed" };
            (key.to_owned(), body.clone())
        })
        .collect();
    publish_raw(&url, &messages, "application/json").await;
    publish_raw(&url, &[("project.created".into(), with("", ""))], "application/json").await;
    publish_raw(
        &url,
        &[("scrape.completed".into(), b"\x0a\xff".to_vec())],
        "application/x-protobuf",
    )
    .await;
    publish_raw(&url, &[("scrape.completed".into(), with("", ""))], "text/plain").await;
    studio.publish(&good).await;
    endpoint.wait_for(1).await;
    assert_eq!(endpoint.requests()[0].text(), good.payload());

    let mut expected: Vec<String> = bad.iter().map(|(reason, _)| (*reason).to_owned()).collect();
    expected
        .extend(["routing_key_mismatch", "not_protobuf", "wrong_content_type"].map(String::from));
    let mut found = rejected(&url, expected.len()).await;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(studio.log("dispatcher").contains("a message was rejected"));
}

/// The reasons of the next `count` messages in `studio.rejected`.
async fn rejected(url: &str, count: usize) -> Vec<String> {
    let connection = bench::servers::connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = BasicConsumeOptions::default();
    let queue = "studio.rejected".into();
    let mut messages =
        channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    let mut reasons = Vec::new();
    while reasons.len() < count {
        let next = tokio::time::timeout(crate::support::PATIENCE, messages.next()).await;
        let message = next.expect("another rejected message").unwrap().unwrap();
        let headers = message.properties.headers().as_ref().unwrap();
        let AMQPValue::LongString(reason) = &headers.inner()["studio-reason"] else {
            panic!("no reason: {headers:?}");
        };
        assert!(headers.inner().contains_key("studio-reason-text"));
        if reason.to_string() == "too_large" {
            assert!(message.data.is_empty(), "kept by reference");
        }
        reasons.push(reason.to_string());
        message.ack(BasicAckOptions::default()).await.unwrap();
    }
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_events_are_delivered_with_the_same_bytes() {
    let studio = Studio::start(Backend::Servers).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let event =
        Published::new("usr_1", "alert.sentiment_drop", r#"{"change": -0.20, "project_id":"p"}"#);
    // Field numbers and wire types of proto/event.proto, written by hand: a stranger's encoder.
    let mut body = Vec::new();
    let fields = [&event.id, &event.kind, "2026-02-02T12:00:00Z", &event.user, &event.data];
    for (number, text) in (1_u8..).zip(fields) {
        body.push(number << 3 | 2);
        body.push(u8::try_from(text.len()).unwrap());
        body.extend_from_slice(text.as_bytes());
    }
    let url = studio.amqp_url.clone().unwrap();
    publish_raw(&url, &[(event.kind.clone(), body)], "application/x-protobuf").await;
    assert_eq!(endpoint.wait_for(1).await[0].text(), event.payload());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_message_costs_no_more_than_three_times_its_size() {
    let studio = Studio::start(Backend::Servers).await;
    let url = studio.amqp_url.clone().unwrap();
    let processes = ["dispatcher", "gateway"].map(|name| (name, studio.pid(name)));
    let before = processes.map(|(_, pid)| peak_mib(&[pid]));
    for mib in [16, 100] {
        let body = vec![b'x'; mib << 20];
        publish_raw(&url, &[("scrape.completed".into(), body)], "application/json").await;
        assert_eq!(rejected(&url, 1).await, ["too_large"]);
        for ((name, pid), before) in processes.into_iter().zip(before) {
            let grown = peak_mib(&[pid]) - before;
            // The client library gathers it in a buffer that doubles, from frames on their way.
            let most = 3.0 * mib as f64 + 16.0;
            assert!(grown < most, "{name}: {grown:.0} MiB for {mib} MiB");
        }
    }
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(1).await;
}
