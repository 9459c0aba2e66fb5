//! What operators see.

use std::time::Duration;

use broker::{Queue, Target};
use time::OffsetDateTime;

use crate::room::{Room, event, id_of, next, wait_for};

pub(crate) async fn a_queue_tells_how_it_is_doing(room: Room) {
    let broker = room.open().await;
    let began = OffsetDateTime::now_utc() - Duration::from_secs(1);
    let queues = [Queue::Rejected, Queue::Deliver, Queue::Retry(Duration::from_secs(2))];
    for queue in queues {
        assert_eq!(broker.inspect(queue).await.unwrap().messages, 0, "{queue}");
        for number in 0..3 {
            let message = event(&format!("evt_{number}")).1;
            broker.publish(Target::Queue(queue), message).await.unwrap();
        }
    }
    for queue in queues {
        wait_for("three messages", || async { broker.inspect(queue).await.unwrap().messages >= 3 })
            .await;
        let state = broker.inspect(queue).await.unwrap();
        assert_eq!(state.consumers, 0, "{queue}");
        let now = OffsetDateTime::now_utc();
        // Where it is told, it is true.
        assert!(state.oldest.is_none_or(|at| began <= at && at <= now), "{queue}: {state:?}");
    }
    let mut consumer = broker.consume(Queue::Rejected, 10);
    for _ in 0..3 {
        next(&mut consumer).await.acker.ack();
    }
    wait_for("nothing left, and one who takes", || async {
        let state = broker.inspect(Queue::Rejected).await.unwrap();
        (state.messages, state.consumers) == (0, 1) && state.finished.is_none_or(|n| n == 3)
    })
    .await;
    broker.close().await;
}

pub(crate) async fn what_is_looked_at_and_handed_back_keeps_its_order(room: Room) {
    let broker = room.open().await;
    let ids: Vec<String> = (0..9).map(|n| format!("evt_{n}")).collect();
    for id in &ids {
        broker.publish(Target::Queue(Queue::Rejected), event(id).1).await.unwrap();
    }
    for _ in 0..3 {
        let mut consumer = broker.consume(Queue::Rejected, 9);
        let mut held = Vec::new();
        for id in &ids {
            held.push(next(&mut consumer).await);
            assert_eq!(&id_of(held.last().unwrap()), id);
        }
        held.extend(consumer.end().await);
        held.into_iter().for_each(drop);
        wait_for("everything is back", || async {
            let state = broker.inspect(Queue::Rejected).await.unwrap();
            (state.messages, state.consumers) == (9, 0)
        })
        .await;
    }
    broker.close().await;
}
