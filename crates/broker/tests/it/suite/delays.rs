//! Delay queues.

use std::time::{Duration, Instant};

use broker::{Queue, Target};

use crate::room::{Room, event, id_of, next, nothing, wait_for};

/// How late a delayed message may be on a busy machine.
const LATE: Duration = Duration::from_millis(2_500);

pub(crate) async fn a_delayed_message_is_never_early_and_the_shorter_delay_comes_first(room: Room) {
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Deliver, 10);
    let began = Instant::now();
    let seconds = |n| Duration::from_secs(n);
    for (id, delay) in [("evt_long", 2), ("evt_short_1", 1), ("evt_short_2", 1)] {
        let target = Target::Queue(Queue::Retry(seconds(delay)));
        broker.publish(target, event(id).1).await.unwrap();
    }
    assert_eq!(broker.depth(Queue::Deliver).await.unwrap(), 0);
    // Counts are up to a second old where RabbitMQ keeps them.
    wait_for("two that wait", || async {
        broker.depth(Queue::Retry(seconds(1))).await.unwrap() == 2
    })
    .await;
    for (id, delay) in [("evt_short_1", 1), ("evt_short_2", 1), ("evt_long", 2)] {
        let taken = next(&mut consumer).await;
        let waited = began.elapsed();
        assert_eq!(id_of(&taken), id);
        assert!(!taken.redelivered && taken.routing_key.is_none());
        assert!(waited >= seconds(delay), "{id} came after {waited:?}");
        assert!(waited < seconds(delay) + LATE, "{id} came after {waited:?}");
        taken.acker.ack();
    }
    nothing(&mut consumer).await;
    broker.close().await;
}

pub(crate) async fn a_delay_goes_on_across_a_restart(room: Room) {
    let broker = room.open().await;
    let began = Instant::now();
    for (id, delay) in [("evt_2", 2), ("evt_1", 1)] {
        let target = Target::Queue(Queue::Retry(Duration::from_secs(delay)));
        broker.publish(target, event(id).1).await.unwrap();
    }
    broker.close().await;
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Deliver, 10);
    for (id, delay) in [("evt_1", 1), ("evt_2", 2)] {
        let taken = next(&mut consumer).await;
        let (waited, delay) = (began.elapsed(), Duration::from_secs(delay));
        assert_eq!(id_of(&taken), id);
        assert!(waited >= delay && waited < delay + LATE, "{id} came after {waited:?}");
        taken.acker.ack();
    }
    nothing(&mut consumer).await;
    broker.close().await;
}
