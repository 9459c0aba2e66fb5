//! Lost connections, queues and brokers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bench::servers::RabbitMq;
use broker::{Consumer, ControlSignal, PublishError, Queue, SharedBroker};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions};
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::{away, stranger};
use crate::room::{
    PATIENCE, Room, config, event, id_of, next, next_id, ready, until_caught_up, wait_for,
};

/// How long everything may take to be back after a fault (promises, I7).
const BACK: Duration = Duration::from_secs(10);

/// A broker that tests kill, one after the other.
async fn mortal() -> MutexGuard<'static, RabbitMq> {
    static MORTAL: OnceCell<Mutex<RabbitMq>> = OnceCell::const_new();
    let start =
        || async { Mutex::new(blocking(|| RabbitMq::start("mortal-rabbitmq").unwrap()).await) };
    MORTAL.get_or_init(start).await.lock().await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Opens a broker of which nothing is lost by a kill: RabbitMQ itself forgets for good what was
/// declared a moment before.
async fn durable(rabbitmq: &RabbitMq) -> SharedBroker {
    let broker = room_on(rabbitmq).open().await;
    tokio::task::block_in_place(|| {
        for queue in ["studio.dispatch", "studio.deliver", "studio.deliver.wait.5s"] {
            rabbitmq.wait_until_durable(queue).unwrap();
        }
        rabbitmq.wait_until_streams_are_durable().unwrap();
    });
    broker
}

fn room_on(rabbitmq: &RabbitMq) -> Room {
    Room { config: config(rabbitmq.url()), folder: tempfile::tempdir().unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_nothing_confirmed_and_everybody_comes_back() {
    let mut rabbitmq = mortal().await;
    let broker = durable(&rabbitmq).await;
    purge(&rabbitmq).await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    ready(&broker).await;
    let messages = (0..200).map(|n| event(&format!("evt_{n:03}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let under_way = next(&mut consumer).await;

    rabbitmq.kill9().unwrap();
    let asked = Instant::now();
    let (target, message) = event("evt_lost");
    let error = broker.publish(target, message).await.unwrap_err();
    assert!(matches!(error, PublishError::Unavailable(_)), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(1), "told after {:?}", asked.elapsed());
    let reason = away(&broker).await;
    assert!(reason.contains("publishing"), "{reason}");
    // Settled on a connection that is gone: it comes again.
    under_way.acker.ack();

    tokio::task::block_in_place(|| rabbitmq.restart()).unwrap();
    let back = Instant::now();
    ready(&broker).await;
    assert!(back.elapsed() < BACK, "back after {:?}", back.elapsed());
    let (target, message) = event("evt_after");
    broker.publish(target, message).await.unwrap();
    let mut ids = BTreeSet::new();
    while ids.len() < 201 {
        let taken = next(&mut consumer).await;
        ids.insert(id_of(&taken));
        taken.acker.ack();
    }
    assert!(ids.contains("evt_after") && !ids.contains("evt_lost"));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_empty_is_furnished_again() {
    let mut rabbitmq = mortal().await;
    let broker = durable(&rabbitmq).await;
    purge(&rabbitmq).await;
    let mut consumers = [broker.consume(Queue::Dispatch, 10), broker.consume(Queue::Deliver, 10)];
    let mut control = broker.control();
    let mut history = broker.history(Some(OffsetDateTime::now_utc()));
    until_caught_up(&mut history).await;
    ready(&broker).await;
    assert_eq!(control.next().await, Some(ControlSignal::Gap));
    for number in 0..20 {
        let (target, message) = event(&format!("evt_{number}"));
        broker.publish(target, message).await.unwrap();
        assert_eq!(next_id(&mut history).await, format!("evt_{number}"));
        next(&mut consumers[0]).await.acker.ack();
    }

    tokio::task::block_in_place(|| rabbitmq.wipe_and_restart()).unwrap();
    let back = Instant::now();
    ready(&broker).await;
    let gap = tokio::time::timeout(PATIENCE, control.next()).await.unwrap();
    assert_eq!(gap, Some(ControlSignal::Gap));
    let (target, message) = event("evt_after");
    broker.publish(target, message).await.unwrap();
    assert_eq!(id_of(&next(&mut consumers[0]).await), "evt_after");
    assert_eq!(next_id(&mut history).await, "evt_after", "though its offset was read before");
    let target = broker::Target::Queue(Queue::Deliver);
    broker.publish(target, event("evt_deliver").1).await.unwrap();
    assert_eq!(id_of(&next(&mut consumers[1]).await), "evt_deliver");
    assert!(back.elapsed() < BACK, "back after {:?}", back.elapsed());
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_alarm_fails_publishes_fast_and_holds_up_no_consumer() {
    let rabbitmq = mortal().await;
    let broker = room_on(&rabbitmq).open().await;
    purge(&rabbitmq).await;
    let messages = (0..10).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));

    let watermark = |to: &str| {
        tokio::task::block_in_place(|| rabbitmq.ctl(&["set_vm_memory_high_watermark", to])).unwrap()
    };
    watermark("0");
    // The broker tells of the alarm when it is sent something.
    let mut error = None;
    for attempt in 0..10 {
        let (target, message) = event(&format!("evt_blocked_{attempt}"));
        let asked = Instant::now();
        error = broker.publish(target, message).await.err();
        assert!(asked.elapsed() < Duration::from_secs(1), "told after {:?}", asked.elapsed());
        if error.is_some() {
            break;
        }
    }
    let error = error.unwrap().to_string();
    assert!(error.contains("out of memory or disk space"), "{error}");
    let reason = away(&broker).await;
    assert!(reason.contains("connection.blocked"), "{reason}");
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    for number in 0..10 {
        let taken = next(&mut consumer).await;
        assert_eq!(id_of(&taken), format!("evt_{number}"));
        taken.acker.ack();
    }
    watermark("0.6");
    ready(&broker).await;
    let (target, message) = event("evt_after");
    broker.publish(target, message).await.unwrap();
    broker.close().await;
}

/// Takes the next message, which must be the event of this id.
async fn takes(consumer: &mut Consumer, id: &str) {
    let taken = next(consumer).await;
    assert_eq!(id_of(&taken), id);
    taken.acker.ack();
}

/// Removes what an earlier test left.
async fn purge(rabbitmq: &RabbitMq) {
    let (_connection, channel) = stranger(&rabbitmq.url()).await;
    for queue in ["studio.dispatch", "studio.deliver"] {
        channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_is_noticed_by_the_publish_timeout() {
    let rabbitmq = mortal().await;
    let mut room = room_on(&rabbitmq);
    room.config.publish_timeout = Duration::from_millis(500);
    room.config.url = format!("{}?heartbeat=2", room.config.url.expose()).into();
    let broker = room.open().await;
    purge(&rabbitmq).await;
    let mut consumer = broker.consume(Queue::Deliver, 1);
    ready(&broker).await;
    rabbitmq.sigstop().unwrap();
    let asked = Instant::now();
    let (target, message) = event("evt_1");
    let error = broker.publish(target, message).await.unwrap_err();
    assert!(matches!(error, PublishError::Unavailable(_)), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(2), "told after {:?}", asked.elapsed());
    // Without a heartbeat the connection is given up, and health tells.
    away(&broker).await;
    rabbitmq.sigcont().unwrap();
    ready(&broker).await;
    let target = broker::Target::Queue(Queue::Deliver);
    broker.publish(target, event("evt_2").1).await.unwrap();
    assert_eq!(id_of(&next(&mut consumer).await), "evt_2");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_come_back() {
    let room = Room::rabbitmq().await;
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    ready(&broker).await;
    let vhost = room.config.url.expose().rsplit('/').next().unwrap().to_owned();
    for round in 0..3 {
        let vhost = vhost.clone();
        let close = move || {
            let arguments = ["close_all_connections", "--vhost", &vhost, "a test"];
            RabbitMq::shared().ctl(&arguments).unwrap();
        };
        blocking(close).await;
        away(&broker).await;
        let began = Instant::now();
        ready(&broker).await;
        assert!(began.elapsed() < Duration::from_secs(5), "back after {:?}", began.elapsed());
        let (target, message) = event(&format!("evt_{round}"));
        broker.publish(target, message).await.unwrap();
        takes(&mut consumer, &format!("evt_{round}")).await;
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_deleted_under_its_consumer_is_declared_again() {
    let room = Room::rabbitmq().await;
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    ready(&broker).await;
    let (_connection, channel) = stranger(room.config.url.expose()).await;
    for round in 0..3 {
        let queue = "studio.dispatch".into();
        channel.queue_delete(queue, QueueDeleteOptions::default()).await.unwrap();
        let reason = away(&broker).await;
        assert!(reason.contains("the consumer of studio.dispatch"), "{reason}");
        ready(&broker).await;
        let (target, message) = event(&format!("evt_{round}"));
        broker.publish(target, message).await.unwrap();
        takes(&mut consumer, &format!("evt_{round}")).await;
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_exchange_is_declared_again() {
    let room = Room::rabbitmq().await;
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    ready(&broker).await;
    let (_connection, channel) = stranger(room.config.url.expose()).await;
    for round in 0..3 {
        let exchange = "studio.events".into();
        channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
        let id = format!("evt_{round}");
        wait_for("a publish that works", || async {
            let (target, message) = event(&id);
            broker.publish(target, message).await.is_ok()
        })
        .await;
        takes(&mut consumer, &id).await;
    }
    broker.close().await;
}
