use domain::{DeliveryId, DeliveryStatus, Event, EventKey, Webhook};
use futures::future::join_all;
use std::collections::HashSet;
use store::{BacklogKey, OrderedCursor, Outcome, PlacedDelivery, Waits};

use crate::backlogs::{line, waiting};
use crate::samples::{attempted, event, now, planned, webhook};

const PROJECT: i64 = 77;

fn placed(hook: &Webhook, event: &Event, place: i64) -> PlacedDelivery {
    PlacedDelivery {
        id: DeliveryId::derive(&event.user, &event.id, hook.id, ""),
        webhook: hook.id,
        partition: PROJECT,
        event: event.clone(),
        place,
    }
}

fn at(event: &Event, place: i64) -> OrderedCursor {
    OrderedCursor { entry: Some(event.key()), at: now(), place }
}

on_both_databases! {
    async fn whether_a_webhook_is_ordered_is_known(database) {
        webhook(&database.store, "u").await;
        assert!(!database.store.any_ordered().await.unwrap());
        database.sql("UPDATE webhooks SET ordered = 1").await;
        assert!(database.store.any_ordered().await.unwrap());
    }

    async fn the_history_is_read_by_one_at_a_time(database) {
        let store = &database.store;
        let e = event("u", "e", "{}");
        assert_eq!(store.ordered_cursor().await.unwrap(), None);
        let begin = OrderedCursor { entry: None, at: now(), place: 0 };
        let (first, second) = (at(&e, 10), at(&e, 20));
        let moved = async |from: Option<&OrderedCursor>, to: &OrderedCursor| {
            store.place_ordered(&[], false, from, to, Some("me")).await.unwrap()
        };
        assert_eq!(moved(Some(&first), &second).await, None, "there is none yet");
        assert_eq!(moved(None, &begin).await, Some(vec![]));
        assert_eq!(moved(None, &first).await, None);
        assert_eq!(store.ordered_cursor().await.unwrap(), Some(begin));
        assert_eq!(moved(Some(&begin), &first).await, Some(vec![]));
        for lost in [&begin, &OrderedCursor { place: 11, ..first }, &OrderedCursor { entry: None, ..first }] {
            assert_eq!(moved(Some(lost), &second).await, None);
        }
        assert_eq!(store.ordered_cursor().await.unwrap(), Some(first));
        assert_eq!(first.entry, Some(EventKey::of(&e.user, &e.id)));
    }

    async fn recorded_deliveries_that_nobody_works_on_take_their_places(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let events = ["a", "b", "waits", "tried", "ended", "parked", "missing"]
            .map(|id| event("u", id, "{}"));
        let [a, b, waits, tried, ended, parked, _] = &events;
        let outcomes = [
            planned(&hook, a),
            planned(&hook, b),
            waiting(&hook, waits, 1),
            attempted(&hook, tried, 1, DeliveryStatus::Retrying),
            attempted(&hook, ended, 1, DeliveryStatus::Success),
            Outcome { waits: Waits::Parked, ..planned(&hook, parked) },
        ];
        store.record(&outcomes).await.unwrap();
        let all: Vec<_> = events.iter().zip(10..).map(|(e, n)| placed(&hook, e, 30 - n)).collect();
        let begin = at(a, 0);
        store.place_ordered(&[], false, None, &begin, Some("me")).await.unwrap();
        let begun = store.place_ordered(&all, false, Some(&begin), &at(b, 30), Some("me")).await;
        let key = BacklogKey { webhook: hook.id, partition: PROJECT };
        assert_eq!(begun.unwrap(), Some(vec![key]));
        assert_eq!(line(store, key).await, ["b", "a"]);
        assert_eq!(line(store, BacklogKey { partition: 0, ..key }).await, ["waits"]);
        let ids: Vec<_> = all.iter().map(|placed| placed.id).collect();
        assert!(!store.progress(&ids).await.unwrap().contains_key(&ids[6]));
        assert!(store.held_backlogs("me").await.unwrap().iter().any(|held| held.key == key));
    }

    async fn missing_deliveries_are_made_in_their_places(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let [one, two, done] = ["1", "2", "done"].map(|id| event("u", id, r#"{"n":1.0}"#));
        store.record(&[attempted(&hook, &done, 1, DeliveryStatus::Success)]).await.unwrap();
        let all = [placed(&hook, &two, 2), placed(&hook, &one, 1), placed(&hook, &done, 3)];
        store.place_ordered(&all, true, None, &at(&two, 3), Some("me")).await.unwrap().unwrap();
        let key = BacklogKey { webhook: hook.id, partition: PROJECT };
        assert_eq!(line(store, key).await, ["1", "2"]);
        let page = store.backlog_page(key, None, 10, 1 << 20, &HashSet::new()).await.unwrap();
        assert_eq!(page.deliveries[0].task.event.payload, one.payload);
        let (row, _, _) = store.delivery(&hook.user, hook.id, all[0].id).await.unwrap();
        assert_eq!((row.status, row.next_attempt_at), (DeliveryStatus::Pending, None));
        store.record(&[attempted(&hook, &one, 1, DeliveryStatus::Success)]).await.unwrap();
        assert_eq!(line(store, key).await, ["2"]);
    }

    async fn of_many_who_read_the_history_at_once_one_gives_the_places(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let e = event("u", "e", "{}");
        let mut cursor = at(&e, 0);
        store.place_ordered(&[], false, None, &cursor, Some("me")).await.unwrap();
        for round in 1..=10 {
            let asking = (0..5).map(|n| {
                let (store, from, hook) = (store.clone(), cursor, hook.clone());
                tokio::spawn(async move {
                    let e = event("u", &format!("e{round}-{n}"), "{}");
                    let to = at(&e, round);
                    let placed = [placed(&hook, &e, round)];
                    let done = store.place_ordered(&placed, true, Some(&from), &to, Some("me")).await;
                    done.unwrap().map(|_| to)
                })
            });
            let done: Vec<_> =
                join_all(asking).await.into_iter().filter_map(Result::unwrap).collect();
            assert_eq!(done.len(), 1);
            cursor = done[0];
            assert_eq!(store.ordered_cursor().await.unwrap(), Some(cursor));
        }
        let key = BacklogKey { webhook: hook.id, partition: PROJECT };
        assert_eq!(line(store, key).await.len(), 10);
    }
}
