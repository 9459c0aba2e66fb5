//! Reading events again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use broker::{HistoryEntry, Outgoing, Target};
use domain::EventType;
use time::OffsetDateTime;

use crate::room::{Room, entry, event, next_id, until_caught_up};

pub(crate) async fn the_history_is_read_from_a_time_on_and_goes_on_live(room: Room) {
    let broker = room.open().await;
    let before = OffsetDateTime::now_utc() - Duration::from_secs(10);
    let messages: Vec<_> = (0..300).map(|n| event(&format!("evt_{n:03}"))).collect();
    let ids: Vec<String> = (0..300).map(|n| format!("evt_{n:03}")).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));

    let mut reader = broker.history(Some(before));
    assert_eq!(until_caught_up(&mut reader).await, ids);
    for id in ["evt_live_1", "evt_live_2"] {
        let (target, message) = event(id);
        broker.publish(target, message).await.unwrap();
        assert_eq!(next_id(&mut reader).await, id);
    }
    broker.close().await;
    assert!(reader.next().await.is_none());
    // It outlives the process.
    let broker = room.open().await;
    let mut reader = broker.history(Some(before));
    assert_eq!(until_caught_up(&mut reader).await.len(), 302);
    broker.close().await;
}

pub(crate) async fn reading_from_now_on_begins_with_what_comes(room: Room) {
    let broker = room.open().await;
    let (target, message) = event("evt_before");
    broker.publish(target, message).await.unwrap();
    let mut reader = broker.history(None);
    assert!(matches!(entry(&mut reader).await, HistoryEntry::CaughtUp));
    let (target, message) = event("evt_after");
    broker.publish(target, message).await.unwrap();
    assert_eq!(next_id(&mut reader).await, "evt_after");
    broker.close().await;
}

pub(crate) async fn a_reader_catches_up_without_gap_or_double_while_events_are_published(
    room: Room,
) {
    let broker = room.open().await;
    let before = OffsetDateTime::now_utc() - Duration::from_secs(10);
    let (stop, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let publishing = {
        let (broker, stop, published) = (broker.clone(), stop.clone(), published.clone());
        tokio::spawn(async move {
            // More often than a reader could wait for silence.
            while !stop.load(Ordering::Relaxed) {
                let first = published.load(Ordering::Relaxed);
                let messages = (first..first + 10).map(|n| event(&format!("evt_{n:05}")));
                let results = broker.publish_all(messages.collect()).await;
                assert!(results.iter().all(Result::is_ok));
                published.fetch_add(10, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let there = published.load(Ordering::Relaxed) as usize;
        let mut reader = broker.history(Some(before));
        let mut ids = until_caught_up(&mut reader).await;
        assert!(ids.len() >= there, "the mark came after {} of {there}", ids.len());
        while ids.len() < there + 200 {
            ids.push(next_id(&mut reader).await);
        }
        let expected = (0..ids.len()).map(|n| format!("evt_{n:05}"));
        assert!(ids.iter().eq(expected.collect::<Vec<_>>().iter()), "a gap or a double");
    }
    stop.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    broker.close().await;
}

pub(crate) async fn the_history_skips_what_is_no_event(room: Room) {
    let broker = room.open().await;
    let before = OffsetDateTime::now_utc() - Duration::from_secs(10);
    let no_event = (Target::Events(EventType::ScrapeFailed), Outgoing::json("{}".into()));
    for (target, message) in [event("evt_1"), no_event, event("evt_2")] {
        broker.publish(target, message).await.unwrap();
    }
    let mut reader = broker.history(Some(before));
    assert_eq!(until_caught_up(&mut reader).await, ["evt_1", "evt_2"]);
    broker.close().await;
}

pub(crate) async fn a_history_of_which_nothing_was_removed_is_whole_for_as_long_as_it_is_kept(
    room: Room,
) {
    let broker = room.open().await;
    let kept_since = || OffsetDateTime::now_utc() - room.config.history_age;
    let before = kept_since();
    let begins = broker.history_begins().await.unwrap();
    assert!(before <= begins && begins <= kept_since(), "empty: {begins}");
    let (target, message) = event("evt_1");
    broker.publish(target, message).await.unwrap();
    let begins = broker.history_begins().await.unwrap();
    assert!(begins <= kept_since(), "with its first entry: {begins}");
    broker.close().await;
}
