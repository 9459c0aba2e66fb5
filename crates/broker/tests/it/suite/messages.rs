//! Published, taken, settled.

use std::collections::BTreeSet;

use broker::{ContentType, Outgoing, Queue, Target};
use domain::EventType;

use crate::room::{Room, event, id_of, next, nothing, wait_for};

pub(crate) async fn a_message_arrives_as_it_was_published(room: Room) {
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    let headers = [("traceparent", "00-1-2-01".to_owned()), ("studio-x", "é ü".to_owned())];
    let message = Outgoing {
        content_type: ContentType::Protobuf,
        message_id: Some("evt_1".to_owned()),
        ..Outgoing::json(b"\x00\xff body"[..].into())
    };
    let target = Target::Events(EventType::AlertNegativeSpike);
    broker.publish(target, message.with_headers(headers.clone())).await.unwrap();

    let taken = next(&mut consumer).await;
    assert_eq!(taken.content_type, ContentType::Protobuf);
    assert_eq!(taken.message_id.as_deref(), Some("evt_1"));
    assert_eq!(taken.routing_key.as_deref(), Some("alert.negative_spike"));
    assert_eq!(taken.body, b"\x00\xff body"[..]);
    assert_eq!((taken.redelivered, taken.returns), (false, 0));
    for (name, text) in &headers {
        assert_eq!(taken.header(name), Some(text.as_str()));
    }
    taken.acker.ack();
    // Straight to a queue: no routing key that would say something of the event.
    let (_, message) = event("evt_2");
    broker.publish(Target::Queue(Queue::Dispatch), message).await.unwrap();
    let taken = next(&mut consumer).await;
    assert_eq!(taken.routing_key, None);
    assert_eq!(id_of(&taken), "evt_2");
    taken.acker.ack();
    wait_for("an empty queue", || async { broker.depth(Queue::Dispatch).await.unwrap() == 0 })
        .await;
    broker.close().await;
}

pub(crate) async fn what_is_acknowledged_is_gone_and_what_is_not_comes_again_after_a_restart(
    room: Room,
) {
    let broker = room.open().await;
    for number in 0..20 {
        let (target, message) = event(&format!("evt_{number:02}"));
        broker.publish(target, message).await.unwrap();
    }
    let mut consumer = broker.consume(Queue::Dispatch, 20);
    let mut held = Vec::new();
    for number in 0..20 {
        let taken = next(&mut consumer).await;
        assert_eq!(id_of(&taken), format!("evt_{number:02}"));
        // Out of order and with holes, so that no run covers them.
        if number % 3 == 0 { held.push(taken) } else { taken.acker.ack() }
    }
    broker.close().await;
    drop((held, consumer));

    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 20);
    let mut again = BTreeSet::new();
    for _ in 0..7 {
        let taken = next(&mut consumer).await;
        assert!(taken.redelivered);
        again.insert(id_of(&taken));
        taken.acker.ack();
    }
    let expected = (0..20).filter(|n| n % 3 == 0).map(|n| format!("evt_{n:02}"));
    assert_eq!(again, expected.collect());
    nothing(&mut consumer).await;
    broker.close().await;
}

pub(crate) async fn a_message_whose_acker_is_dropped_comes_again(room: Room) {
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Deliver, 10);
    let (_, message) = event("evt_1");
    broker.publish(Target::Queue(Queue::Deliver), message).await.unwrap();
    let taken = next(&mut consumer).await;
    assert_eq!((taken.redelivered, taken.returns), (false, 0));
    drop(taken);
    let taken = next(&mut consumer).await;
    assert_eq!((taken.redelivered, taken.returns), (true, 1));
    drop(taken.acker);
    let taken = next(&mut consumer).await;
    assert_eq!((taken.redelivered, taken.returns), (true, 2));
    taken.acker.ack();
    nothing(&mut consumer).await;
    broker.close().await;
}

pub(crate) async fn a_dropped_consumer_gives_everything_back(room: Room) {
    let broker = room.open().await;
    let messages = (0..10).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut first = broker.consume(Queue::Dispatch, 10);
    let held = next(&mut first).await;
    drop((held, first));
    let mut second = broker.consume(Queue::Dispatch, 10);
    let mut ids = BTreeSet::new();
    while ids.len() < 10 {
        let taken = next(&mut second).await;
        ids.insert(id_of(&taken));
        taken.acker.ack();
    }
    nothing(&mut second).await;
    broker.close().await;
}

pub(crate) async fn what_was_sent_ahead_does_not_wait_for_work_under_way(room: Room) {
    let broker = room.open().await;
    let messages = (0..10).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut first = broker.consume(Queue::Dispatch, 10);
    let held = next(&mut first).await;
    drop(first);
    let mut second = broker.consume(Queue::Dispatch, 20);
    let mut ids = BTreeSet::new();
    while ids.len() < 9 {
        let taken = next(&mut second).await;
        assert!(ids.insert(id_of(&taken)));
        taken.acker.ack();
    }
    // And the work under way can still be finished.
    assert!(!ids.contains(&id_of(&held)));
    held.acker.ack();
    nothing(&mut second).await;
    broker.close().await;
    let broker = room.open().await;
    nothing(&mut broker.consume(Queue::Dispatch, 20)).await;
    broker.close().await;
}

pub(crate) async fn no_more_than_the_prefetch_is_under_way(room: Room) {
    let broker = room.open().await;
    let messages = (0..12).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut consumer = broker.consume(Queue::Dispatch, 5);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(next(&mut consumer).await);
    }
    nothing(&mut consumer).await;
    held.pop().unwrap().acker.ack();
    held.push(next(&mut consumer).await);
    nothing(&mut consumer).await;
    broker.close().await;
}

pub(crate) async fn two_consumers_share_a_queue(room: Room) {
    let broker = room.open().await;
    let mut both = [broker.consume(Queue::Deliver, 1), broker.consume(Queue::Deliver, 1)];
    let messages = (0..4).map(|n| (Target::Queue(Queue::Deliver), event(&format!("evt_{n}")).1));
    assert!(broker.publish_all(messages.collect()).await.iter().all(Result::is_ok));
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let [one, other] = &mut both;
        let taken = [next(one).await, next(other).await];
        for taken in taken {
            assert!(ids.insert(id_of(&taken)), "each to one of them only");
            taken.acker.ack();
        }
    }
    assert_eq!(ids.len(), 4);
    broker.close().await;
}

pub(crate) async fn a_body_that_is_no_event_reaches_the_dispatcher(room: Room) {
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    for body in ["", "{}", "no json at all"] {
        let target = Target::Events(EventType::ScrapeFailed);
        broker.publish(target, Outgoing::json(body.into())).await.unwrap();
        let taken = next(&mut consumer).await;
        assert_eq!(taken.body, body);
        assert!(taken.event().is_err());
        taken.acker.ack();
    }
    broker.close().await;
}

pub(crate) async fn a_backlog_is_consumed_whole_and_once(room: Room) {
    const BACKLOG: usize = 12_000;
    let broker = room.open().await;
    for chunk in 0..BACKLOG / 1_000 {
        let numbers = chunk * 1_000..(chunk + 1) * 1_000;
        let messages = numbers.map(|n| event(&format!("evt_{n:05}"))).collect();
        assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    }
    let mut consumer = broker.consume(Queue::Dispatch, 500);
    for number in 0..BACKLOG {
        let taken = next(&mut consumer).await;
        assert_eq!(id_of(&taken), format!("evt_{number:05}"), "in the order of publishing");
        assert!(!taken.redelivered);
        taken.acker.ack();
    }
    nothing(&mut consumer).await;
    broker.close().await;
}

pub(crate) async fn a_close_hands_back_and_gives_out_nothing_more(room: Room) {
    let broker = room.open().await;
    let messages = (0..10).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    let held = next(&mut consumer).await;
    let finished = next(&mut consumer).await;
    let gone = id_of(&finished);
    finished.acker.ack();
    broker.close().await;
    assert!(consumer.next().await.is_none());
    // Too late: it comes again.
    held.acker.ack();
    assert!(broker.publish(event("evt_x").0, event("evt_x").1).await.is_err());
    drop(consumer);

    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 20);
    let mut ids = BTreeSet::new();
    for _ in 0..9 {
        let taken = next(&mut consumer).await;
        ids.insert(id_of(&taken));
        taken.acker.ack();
    }
    assert!(ids.len() == 9 && !ids.contains(&gone));
    nothing(&mut consumer).await;
    broker.close().await;
}

pub(crate) async fn a_broker_just_opened_takes_publishes(room: Room) {
    let broker = broker::open(&room.config).await.unwrap();
    let (target, message) = event("evt_1");
    broker.publish(target, message).await.unwrap();
    assert_eq!(id_of(&next(&mut broker.consume(Queue::Dispatch, 1)).await), "evt_1");
    broker.close().await;
}
