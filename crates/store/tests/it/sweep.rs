use std::time::Duration;

use domain::DeliveryStatus;
use store::Outcome;

use crate::samples::{attempted, event, now, planned, webhook};

on_both_databases! {
    async fn unfinished_deliveries_past_their_time_are_overdue_the_oldest_first(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let start = now();
        let due = |id: &str, seconds_ago: u64, outcome: Outcome| Outcome {
            event: event("u", id, r#"{"n":1.0}"#),
            delivery: planned(&hook, &event("u", id, "{}")).delivery,
            next_attempt_at: Some(start - Duration::from_secs(seconds_ago)),
            ..outcome
        };
        let any = event("u", "any", "{}");
        let retrying = attempted(&hook, &any, 2, DeliveryStatus::Retrying);
        let failed = attempted(&hook, &any, 5, DeliveryStatus::Failed);
        let outcomes = [
            due("newer", 50, planned(&hook, &any)),
            due("older", 100, retrying),
            due("ended", 100, failed),
            planned(&hook, &event("u", "in-time", "{}")),
        ];
        store.record(&outcomes).await.unwrap();

        let found = store.overdue(start - Duration::from_secs(20), 10).await.unwrap();
        let ids: Vec<_> = found.iter().map(|overdue| overdue.event.id.as_str()).collect();
        assert_eq!(ids, ["older", "newer"]);
        assert_eq!(found[0].delivery, outcomes[1].delivery);
        assert_eq!((found[0].attempts, found[0].webhook), (2, hook.id));
        assert_eq!(found[0].next_attempt_at, start - Duration::from_secs(100));
        assert_eq!(found[0].event.payload, outcomes[1].event.payload);
        assert_eq!(store.count_overdue(start - Duration::from_secs(20)).await.unwrap(), 2);
        let before = start - Duration::from_secs(80);
        assert_eq!(store.overdue(before, 10).await.unwrap().len(), 1);
        assert_eq!(store.overdue(start, 1).await.unwrap()[0].event.id.as_str(), "older");
    }

    async fn what_was_postponed_is_overdue_again_only_later(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let [late, moved_on] = ["late", "moved"].map(|id| event("u", id, "{}"));
        let past = Some(now() - Duration::from_secs(100));
        let outcomes = [&late, &moved_on]
            .map(|event| Outcome { next_attempt_at: past, ..planned(&hook, event) });
        store.record(&outcomes).await.unwrap();
        // Attempted between being found and being postponed: its new time counts.
        let attempt = attempted(&hook, &moved_on, 1, DeliveryStatus::Retrying);
        store.record(std::slice::from_ref(&attempt)).await.unwrap();

        let later = now() + Duration::from_secs(120);
        let ids = outcomes.each_ref().map(|outcome| outcome.delivery);
        store.postpone(&ids, later).await.unwrap();

        assert!(store.overdue(now(), 10).await.unwrap().is_empty());
        let progress = store.progress(&ids).await.unwrap();
        assert_eq!(progress[&ids[0]].next_attempt_at, Some(later));
        assert_eq!(progress[&ids[1]].next_attempt_at, attempt.next_attempt_at);
        let again = store.overdue(later + Duration::from_secs(1), 10).await.unwrap();
        assert_eq!(again.len(), 2);
    }

    async fn an_unfinished_delivery_without_a_time_is_not_lost(database) {
        let hook = webhook(&database.store, "u").await;
        let outcome = Outcome { next_attempt_at: None, ..planned(&hook, &event("u", "e", "{}")) };
        database.store.record(&[outcome]).await.unwrap();
        let soon = now() + Duration::from_secs(1);
        assert_eq!(database.store.overdue(soon, 10).await.unwrap().len(), 1);
    }
}
