//! What is declared, and what happens where it cannot be.

use std::collections::BTreeMap;

use bench::servers::RabbitMq;
use broker::{BrokerConfig, Health, Queue};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use super::{away, stranger};
use crate::room::{Room, event, id_of, next, wait_for};

type Queues = BTreeMap<String, BTreeMap<String, Value>>;

/// The virtual host of a room.
fn vhost(room: &Room) -> String {
    room.config.url.expose().rsplit('/').next().unwrap().to_owned()
}

async fn queues(room: &Room) -> Queues {
    let vhost = vhost(room);
    let asked = move || RabbitMq::shared().queue_arguments(&vhost).unwrap();
    tokio::task::spawn_blocking(asked).await.unwrap()
}

fn dead_lettering(to: &str, more: &[(&str, Value)]) -> BTreeMap<String, Value> {
    let all = [
        ("x-queue-type", json!("quorum")),
        ("x-dead-letter-exchange", json!("")),
        ("x-dead-letter-routing-key", json!(to)),
        ("x-dead-letter-strategy", json!("at-least-once")),
        ("x-overflow", json!("reject-publish")),
    ];
    let all = all.iter().chain(more);
    all.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn plain(arguments: &[(&str, Value)]) -> BTreeMap<String, Value> {
    arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// RabbitMQ 3.10 shows no queue named `amq.gen-…` of another connection any longer than it
/// lives; here there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_queue_has_the_arguments_that_its_promises_need() {
    let mut room = Room::rabbitmq().await;
    room.config.retry_delays = BrokerConfig::default().retry_delays;
    let broker = room.open().await;

    let limit = ("x-delivery-limit", json!(1_000));
    let ttl = |ms: u64| ("x-message-ttl", json!(ms));
    let expected = [
        ("studio.dispatch", dead_lettering("studio.rejected", std::slice::from_ref(&limit))),
        ("studio.deliver", dead_lettering("studio.rejected", &[limit])),
        ("studio.deliver.retry.1m", dead_lettering("studio.deliver", &[ttl(60_000)])),
        ("studio.deliver.retry.5m", dead_lettering("studio.deliver", &[ttl(300_000)])),
        ("studio.deliver.retry.30m", dead_lettering("studio.deliver", &[ttl(1_800_000)])),
        ("studio.deliver.retry.2h", dead_lettering("studio.deliver", &[ttl(7_200_000)])),
        ("studio.deliver.wait.5s", dead_lettering("studio.deliver", &[ttl(5_000)])),
        (
            "studio.rejected",
            plain(&[("x-queue-type", json!("quorum")), ("x-delivery-limit", json!(1_000_000))]),
        ),
        (
            "studio.history",
            plain(&[
                ("x-queue-type", json!("stream")),
                ("x-max-age", json!("86400s")),
                ("x-max-length-bytes", json!(1_u64 << 30)),
                ("x-stream-max-segment-size-bytes", json!(20_000_000)),
            ]),
        ),
    ];
    let expected: Queues =
        expected.into_iter().map(|(name, arguments)| (name.to_owned(), arguments)).collect();
    assert_eq!(queues(&room).await, expected);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topology_of_the_operators_own_is_checked_and_never_made() {
    let mut room = Room::rabbitmq().await;
    room.config.declare = false;
    let broker = broker::open(&room.config).await.unwrap();
    let reason = away(&broker).await;
    wait_for("the names of what is missing", || async {
        matches!(broker.health(), Health::Away(reason) if reason.contains("not on the broker"))
    })
    .await;
    let Health::Away(reason) = broker.health() else { panic!("was {reason}") };
    for name in [
        "studio.events",
        "studio.control",
        "studio.dispatch",
        "studio.deliver.retry.1s",
        "studio.history",
    ] {
        assert!(reason.contains(name), "{name} is missing in: {reason}");
    }
    let (target, message) = event("evt_1");
    assert!(broker.publish(target, message).await.is_err());
    assert_eq!(queues(&room).await, Queues::new());

    // Once its owner has made it, everything works, also for the one who only checks.
    room.config.declare = true;
    room.open().await.close().await;
    crate::room::ready(&broker).await;
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_arguments_are_reported_with_the_name_and_what_to_do() {
    let room = Room::rabbitmq().await;
    let (_connection, channel) = stranger(room.config.url.expose()).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("studio.deliver".into(), durable, arguments).await.unwrap();

    let broker = broker::open(&room.config).await.unwrap();
    let mut consumer = broker.consume(Queue::Dispatch, 1);
    wait_for("a reason", || async {
        matches!(broker.health(), Health::Away(reason) if reason.contains("other arguments"))
    })
    .await;
    let reason = away(&broker).await;
    for part in [
        "studio.deliver",
        "the consumer of studio.dispatch",
        "publishing",
        "broker.declare",
        "delete it",
    ] {
        assert!(reason.contains(part), "{part} is missing in: {reason}");
    }
    // It comes back by itself when that was done.
    channel.queue_delete("studio.deliver".into(), QueueDeleteOptions::default()).await.unwrap();
    crate::room::ready(&broker).await;
    let (target, message) = event("evt_1");
    broker.publish(target, message).await.unwrap();
    assert_eq!(id_of(&next(&mut consumer).await), "evt_1");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reason_shows_the_password() {
    let room = Room::rabbitmq().await;
    let wrong = room.config.url.expose().replace("guest:guest@", "guest:hunter2@");
    let config = BrokerConfig { url: wrong.into(), ..room.config.clone() };
    let broker = broker::open(&config).await.unwrap();
    wait_for("a refused login", || async {
        matches!(broker.health(), Health::Away(reason) if reason.contains("ACCESS_REFUSED"))
    })
    .await;
    let (target, message) = event("evt_1");
    let error = broker.publish(target, message).await.unwrap_err();
    let shown = format!("{:?} {error:?} {error} {config:?}", broker.health());
    assert!(!shown.contains("hunter2"), "{shown}");
    for url in ["http://x:hunter2@y/", "amqp://a:hunter2@[/", "hunter2"] {
        let error = broker::open(&BrokerConfig { url: url.into(), ..config.clone() }).await.err();
        let shown = error.unwrap().to_string();
        assert!(shown.starts_with("broker.url: ") && !shown.contains("hunter2"), "{shown}");
    }
    broker.close().await;
}
