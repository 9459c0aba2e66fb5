//! Publishing as strangers do: over AMQP, or through the API.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};

use crate::support::events::Published;
use crate::support::studio::Studio;

impl Studio {
    /// Publishes one event the way that the backend's publishers do, and waits for the confirm.
    pub(crate) async fn publish(&self, event: &Published) {
        self.publish_all(std::slice::from_ref(event)).await;
    }

    /// Publishes many; each is confirmed.
    pub(crate) async fn publish_all(&self, events: &[Published]) {
        match &self.amqp_url {
            Some(url) => publish_amqp(url, events).await,
            None => self.publish_http(events).await,
        }
    }

    async fn publish_http(&self, events: &[Published]) {
        let token = self.token("svc", "service");
        let client = crate::support::client();
        for batch in events.chunks(500) {
            let messages: Vec<String> = batch.iter().map(Published::message).collect();
            let answer = client
                .post(format!("{}/v1/events", self.api))
                .bearer_auth(&token)
                .header("content-type", "application/json")
                .body(format!(r#"{{"events":[{}]}}"#, messages.join(",")))
                .send()
                .await
                .unwrap();
            let status = answer.status();
            assert_eq!(status, 202, "{}", answer.text().await.unwrap());
        }
    }
}

async fn publish_amqp(url: &str, events: &[Published]) {
    let messages: Vec<(String, Vec<u8>)> =
        events.iter().map(|event| (event.kind.clone(), event.message().into_bytes())).collect();
    publish_raw(url, &messages, "application/json").await;
}

/// Publishes bodies with their routing keys to `studio.events`, confirmed and routed.
pub(crate) async fn publish_raw(url: &str, messages: &[(String, Vec<u8>)], content_type: &str) {
    let connection = bench::servers::connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut confirms = Vec::new();
    for (key, body) in messages {
        let properties =
            BasicProperties::default().with_content_type(content_type.into()).with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let exchange = "studio.events".into();
        let sent = channel.basic_publish(exchange, key.as_str().into(), options, body, properties);
        confirms.push(sent.await.unwrap());
    }
    for confirm in confirms {
        assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
    }
    connection.close(200, "OK".into()).await.unwrap();
}

/// Puts a body into `studio.rejected`, as the dispatcher does.
pub(crate) async fn publish_rejected(url: &str, body: &str, reason: &str) {
    let connection = bench::servers::connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("studio-reason".into(), AMQPValue::LongString(reason.into()));
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_headers(headers);
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let queue = "studio.rejected".into();
    let sent = channel.basic_publish("".into(), queue, options, body.as_bytes(), properties).await;
    assert_eq!(sent.unwrap().await.unwrap(), Confirmation::Ack(None));
    connection.close(200, "OK".into()).await.unwrap();
}
