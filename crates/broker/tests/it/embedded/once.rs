//! The same event published twice, and how long the history keeps it.

use std::time::Duration;

use broker::{Outgoing, Queue};
use time::OffsetDateTime;

use crate::room::{Room, event, event_of, id_of, next, nothing, until_caught_up, wait_for};

#[tokio::test]
async fn an_event_published_twice_is_one_event_and_its_first_body_counts() {
    let room = Room::embedded();
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    let (target, first) = event("evt_1");
    let other_body = String::from_utf8(first.body.to_vec()).unwrap().replace("proj_1", "proj_2");
    let second = Outgoing::json(other_body.into());
    broker.publish(target.clone(), first.clone()).await.unwrap();
    broker.publish(target.clone(), second.clone()).await.unwrap();
    let taken = next(&mut consumer).await;
    assert_eq!(taken.body, first.body);
    taken.acker.ack();
    // In one batch, and after a restart.
    let copies = [event("evt_2"), event("evt_1"), event("evt_2"), event("evt_3")];
    assert!(broker.publish_all(copies.to_vec()).await.iter().all(Result::is_ok));
    for id in ["evt_2", "evt_3"] {
        let taken = next(&mut consumer).await;
        assert_eq!(id_of(&taken), id);
        taken.acker.ack();
    }
    broker.close().await;
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    broker.publish(target, second).await.unwrap();
    nothing(&mut consumer).await;
    let since = OffsetDateTime::now_utc() - Duration::from_secs(60);
    let ids = until_caught_up(&mut broker.history(Some(since))).await;
    assert_eq!(ids, ["evt_1", "evt_2", "evt_3"]);
    broker.close().await;
}

#[tokio::test]
async fn the_same_id_of_another_user_is_another_event() {
    let room = Room::embedded();
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    for user in ["usr_1", "usr_2"] {
        let (target, message) = event_of(user, "evt_1");
        broker.publish(target, message).await.unwrap();
        let taken = next(&mut consumer).await;
        assert_eq!(taken.event().unwrap().user.as_str(), user);
        taken.acker.ack();
    }
    broker.close().await;
}

#[tokio::test]
async fn old_history_goes_and_what_waits_for_dispatch_stays() {
    let mut room = Room::embedded();
    room.config.history_age = Duration::from_millis(1);
    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 4);
    let messages = (0..10).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    // Half of them are finished, the others wait.
    for number in 0..5 {
        let taken = next(&mut consumer).await;
        assert_eq!(id_of(&taken), format!("evt_{number}"));
        taken.acker.ack();
    }
    wait_for("five that wait", || async { broker.depth(Queue::Dispatch).await.unwrap() == 5 })
        .await;
    broker.close().await;
    drop(consumer);
    // The first thing that a broker does is to look at its history.
    let broker = room.open().await;
    let since = OffsetDateTime::now_utc() - Duration::from_secs(60);
    wait_for("a history of five", || async {
        until_caught_up(&mut broker.history(Some(since))).await.len() == 5
    })
    .await;
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    for number in 5..10 {
        let taken = next(&mut consumer).await;
        assert_eq!(id_of(&taken), format!("evt_{number}"));
    }
    broker.close().await;
}

#[tokio::test]
async fn the_history_keeps_no_more_bytes_than_it_may() {
    let mut room = Room::embedded();
    room.config.history_bytes = 10_000;
    let broker = room.open().await;
    let messages: Vec<_> = (0..200).map(|n| event(&format!("evt_{n:03}"))).collect();
    let size = messages[0].1.body.len();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut consumer = broker.consume(Queue::Dispatch, 200);
    for _ in 0..200 {
        next(&mut consumer).await.acker.ack();
    }
    wait_for("none that waits", || async { broker.depth(Queue::Dispatch).await.unwrap() == 0 })
        .await;
    broker.close().await;
    let broker = room.open().await;
    let since = OffsetDateTime::now_utc() - Duration::from_secs(60);
    wait_for("a short history", || async {
        let kept = until_caught_up(&mut broker.history(Some(since))).await;
        // The newest, and about as many as fit.
        kept.last().is_some_and(|id| id == "evt_199")
            && kept.len() * size <= 10_000
            && kept.len() * size >= 4_000
    })
    .await;
    broker.close().await;
}
