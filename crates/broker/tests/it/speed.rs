//! How fast both are. Not run by default:
//! `cargo test -p broker --release --test it speed -- --ignored --nocapture --test-threads 1`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use broker::{Outgoing, Queue, SharedBroker, Target};
use domain::{EventId, EventType};

use crate::room::{Room, next, wait_for};

const BACKLOG: usize = 50_000;

/// An event with a body of about a KiB.
fn event() -> (Target, Outgoing) {
    let (id, text) = (EventId::generate(), "x".repeat(800));
    let body = format!(
        r#"{{"id":"{id}","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{{"project_id":"proj_1","text":"{text}"}}}}"#
    );
    (Target::Events(EventType::ScrapeCompleted), Outgoing::json(body.into()))
}

async fn one_after_the_other(broker: &SharedBroker) {
    let (mut waits, began) = (Vec::new(), Instant::now());
    while began.elapsed() < Duration::from_secs(3) {
        let (asked, (target, message)) = (Instant::now(), event());
        broker.publish(target, message).await.unwrap();
        waits.push(asked.elapsed());
    }
    let rate = waits.len() as f64 / began.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |part: f64| waits[(waits.len() as f64 * part) as usize];
    println!("  1 task: {rate:.0} publishes/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

async fn many_tasks(broker: &SharedBroker, tasks: usize) {
    let (count, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let running = (0..tasks).map(|_| {
        let (broker, count) = (broker.clone(), count.clone());
        tokio::spawn(async move {
            while began.elapsed() < Duration::from_secs(3) {
                let (target, message) = event();
                broker.publish(target, message).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    futures::future::join_all(running.collect::<Vec<_>>()).await;
    let rate = count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    println!("  {tasks} tasks: {rate:.0} publishes/s");
}

async fn backlog(broker: &SharedBroker) {
    let mut spent = Duration::ZERO;
    for _ in 0..BACKLOG / 1_000 {
        let messages = (0..1_000).map(|_| event()).collect();
        let began = Instant::now();
        assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
        spent += began.elapsed();
    }
    let rate = BACKLOG as f64 / spent.as_secs_f64();
    println!("  publish_all(1000): {rate:.0} publishes/s");
}

async fn drain(broker: &SharedBroker, prefetch: u16) {
    let began = Instant::now();
    let mut consumer = broker.consume(Queue::Dispatch, prefetch);
    for _ in 0..BACKLOG {
        next(&mut consumer).await.acker.ack();
    }
    wait_for("an empty queue", || async { broker.depth(Queue::Dispatch).await.unwrap() == 0 })
        .await;
    let rate = BACKLOG as f64 / began.elapsed().as_secs_f64();
    println!("  consume and ack of {BACKLOG}, prefetch {prefetch}: {rate:.0}/s");
}

/// From the publish to the taker, at a low rate.
async fn latency(broker: &SharedBroker) {
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    let mut waits = Vec::new();
    for _ in 0..400 {
        let (target, message) = event();
        let began = Instant::now();
        let publishing = broker.publish(target, message);
        let taking = async { next(&mut consumer).await };
        let (published, taken) = tokio::join!(publishing, taking);
        waits.push(began.elapsed());
        published.unwrap();
        taken.acker.ack();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    waits.sort_unstable();
    println!("  publish to taker at 200/s: p50 {:?}, p99 {:?}", waits[200], waits[396]);
}

async fn empty(broker: &SharedBroker) {
    let mut consumer = broker.consume(Queue::Dispatch, 2_000);
    wait_for("some", || async { true }).await;
    while let Ok(Some(taken)) =
        tokio::time::timeout(Duration::from_millis(500), consumer.next()).await
    {
        taken.acker.ack();
    }
}

async fn measure(room: Room) {
    let broker = room.open().await;
    latency(&broker).await;
    one_after_the_other(&broker).await;
    for tasks in [16, 64, 256] {
        many_tasks(&broker, tasks).await;
        empty(&broker).await;
    }
    for prefetch in [100, 1_000] {
        backlog(&broker).await;
        drain(&broker, prefetch).await;
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn the_embedded_broker() {
    // On a disk, not in memory.
    let folder = tempfile::tempdir_in(bench::servers::target_folder()).unwrap();
    let url = format!("embedded://{}", folder.path().join("speed.db").display());
    println!("embedded:");
    measure(Room { config: crate::room::config(url), folder }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rabbitmq() {
    println!("RabbitMQ:");
    measure(Room::rabbitmq().await).await;
}
