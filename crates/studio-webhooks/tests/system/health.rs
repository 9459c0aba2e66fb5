//! A dead endpoint is told about and switched off; nothing of it is lost in silence.

use std::time::Duration;

use futures::StreamExt;
use lapin::Connection;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio, Webhook};
use crate::support::{PATIENCE, on_both, wait_for};

const FAST: (&str, &str) = ("STUDIO__DELIVERY__RETRY_DELAYS", "100ms,200ms,300ms,400ms");

async fn webhook(studio: &Studio, webhook: &Webhook) -> Value {
    let token = studio.token(&webhook.user, "user");
    let path = format!("/v1/webhooks/{}", webhook.id);
    studio.call("GET", &path, &token, None).await.1["data"].clone()
}

/// Publishes one event after the other until the webhook is off.
async fn publish_until_off(studio: &Studio, hook: &Webhook) -> Value {
    wait_for("the webhook is switched off", || async {
        studio.publish(&Published::in_project("usr_1", "p")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let shown = webhook(studio, hook).await;
        (shown["active"] == false).then_some(shown)
    })
    .await
}

async fn a_dead_webhook_is_switched_off_and_works_at_once_when_switched_on(backend: Backend) {
    let settings = [FAST, ("STUDIO__DISPATCHER__DISABLE_AFTER", "4s")];
    let studio = Studio::with(backend, &settings).await;
    let endpoint = Endpoint::answering([500]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    studio.wait_for_log(&hook, "failed").await;
    // What was counted is kept, whatever becomes of the one who counts.
    let name = backend.worker();
    studio.kill(name);
    studio.spawn(name, name, &[]);
    studio.wait_ready(&studio.api).await;
    assert_eq!(webhook(&studio, &hook).await["active"], true);

    let off = publish_until_off(&studio, &hook).await;
    let reason = off["disabled_reason"].as_str().unwrap();
    assert!(reason.starts_with("every delivery since 2"), "{reason}");
    assert!(off["disabled_at"].is_string());
    // Its retries that were waiting end, and say so.
    let last = wait_for("every delivery has ended", || async {
        let logs = studio.logs(&hook).await;
        let ended = |log: &Value| log["status"] == "failed" || log["status"] == "cancelled";
        logs.iter().all(ended).then(|| logs[0].clone())
    })
    .await;
    let requests = endpoint.count();

    endpoint.answer_from_now(200);
    let token = studio.token("usr_1", "user");
    let path = format!("/v1/webhooks/{}", hook.id);
    let (status, on) = studio.call("PATCH", &path, &token, Some(&json!({ "active": true }))).await;
    assert_eq!(status, 200, "{on}");
    let on = webhook(&studio, &hook).await;
    assert_eq!((&on["active"], &on["disabled_reason"]), (&json!(true), &Value::Null));
    assert_eq!(on["disabled_at"], Value::Null);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(requests + 1).await;
    let path = format!("{path}/logs/{}/redeliver", last["id"].as_str().unwrap());
    assert_eq!(studio.call("POST", &path, &token, None).await.0, 202);
    let got = endpoint.wait_for(requests + 2).await;
    assert_eq!(got[requests + 1].event_id(), last["event_id"].as_str().unwrap());
}

async fn an_endpoint_that_is_gone_is_switched_off_at_once(backend: Backend) {
    let studio = Studio::with(backend, &[FAST]).await;
    let endpoint = Endpoint::answering([410]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    studio.wait_for_log(&hook, "failed").await;
    let shown = webhook(&studio, &hook).await;
    assert_eq!((&shown["active"], endpoint.count()), (&json!(false), 5));
    assert!(shown["disabled_reason"].as_str().unwrap().contains("410"), "{shown}");
}

on_both!(
    a_dead_webhook_is_switched_off_and_works_at_once_when_switched_on,
    an_endpoint_that_is_gone_is_switched_off_at_once,
);

/// Everything that is published to `studio.notices` from now on.
async fn listen(url: &str) -> (Connection, lapin::Consumer) {
    let connection = bench::servers::connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), own, FieldTable::default()).await.unwrap();
    let (name, binding) = (queue.name().clone(), QueueBindOptions::default());
    channel
        .queue_bind(
            name.clone(),
            "studio.notices".into(),
            "#".into(),
            binding,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await;
    (connection, consumer.unwrap())
}

async fn next(notices: &mut lapin::Consumer) -> (String, Value) {
    let next = tokio::time::timeout(PATIENCE, notices.next()).await;
    let delivery = next.expect("a notice in time").unwrap().unwrap();
    let body: Value = serde_json::from_slice(&delivery.data).unwrap();
    assert_eq!(body["notice"], delivery.routing_key.as_str());
    assert_eq!(body["user_id"], "usr_1");
    let id = delivery.properties.message_id().as_ref().unwrap();
    assert_eq!(body["id"], id.as_str());
    (delivery.routing_key.to_string(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn studio_is_told_that_a_webhook_fails_recovers_and_is_switched_off() {
    let studio = Studio::with(Backend::Servers, &[FAST]).await;
    let (_connection, mut notices) = listen(studio.amqp_url.as_ref().unwrap()).await;
    let endpoint = Endpoint::answering([500, 500, 500, 500, 200]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let event = Published::in_project("usr_1", "p");
    studio.publish(&event).await;
    let (key, failing) = next(&mut notices).await;
    assert_eq!((key.as_str(), &failing["webhook_id"]), ("webhook.failing", &json!(hook.id)));
    let data = &failing["data"];
    assert_eq!((&data["event_id"], &data["attempts"]), (&json!(event.id), &json!(4)));
    assert_eq!(data["error"], "Internal Server Error");
    assert_eq!(next(&mut notices).await.0, "webhook.recovered");

    endpoint.answer_from_now(410);
    studio.publish(&Published::in_project("usr_1", "p")).await;
    let (key, exhausted) = next(&mut notices).await;
    assert_eq!(
        (key.as_str(), &exhausted["data"]["status_code"]),
        ("delivery.exhausted", &json!(410))
    );
    let (key, disabled) = next(&mut notices).await;
    assert_eq!((key.as_str(), &disabled["data"]["code"]), ("webhook.disabled", &json!("gone")));
}
