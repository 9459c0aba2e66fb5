use std::time::Duration;

use domain::{Cause, DeliveryId, DeliveryStatus, EventType};
use store::{DeliveryFilter, DeliveryPlace, Outcome, PageRequest, StoreError};

use crate::samples::{FIRST_PAGE, attempted, event, now, planned, user, webhook};

use DeliveryStatus::{Failed, Pending, Retrying, Success};

on_both_databases! {
    async fn deliveries_are_filtered_and_paged_newest_first(database) {
        let (store, owner) = (&database.store, user("u"));
        let hook = webhook(store, "u").await;
        let start = now() - Duration::from_secs(1_000);
        let outcomes: Vec<_> = [Success, Failed, Retrying, Success, Failed]
            .into_iter()
            .enumerate()
            .map(|(n, status)| {
                let mut outcome = attempted(&hook, &event("u", &format!("e{n}"), "{}"), 1, status);
                outcome.report.as_mut().unwrap().started_at =
                    start + Duration::from_secs(n as u64 * 100);
                outcome
            })
            .collect();
        store.record(&outcomes).await.unwrap();
        store.record(&[planned(&hook, &event("u", "waiting", "{}"))]).await.unwrap();

        let list = |filter: DeliveryFilter| {
            let owner = owner.clone();
            async move {
                let page = store.deliveries(&owner, hook.id, &filter, FIRST_PAGE).await.unwrap();
                assert_eq!((page.total as usize, page.total_capped), (page.items.len(), false));
                let ids = page.items.iter().map(|row| row.event_id.to_string());
                ids.collect::<Vec<_>>()
            }
        };
        let all = DeliveryFilter::default();
        assert_eq!(list(all.clone()).await, ["waiting", "e4", "e3", "e2", "e1", "e0"]);
        let of = |status| DeliveryFilter { status: Some(status), ..DeliveryFilter::default() };
        assert_eq!(list(of(Failed)).await, ["e4", "e1"]);
        assert_eq!(list(of(Success)).await, ["e3", "e0"]);
        assert_eq!(list(of(Retrying)).await, ["e2"]);
        assert_eq!(list(of(Pending)).await, ["waiting"]);
        let between = DeliveryFilter {
            since: Some(start + Duration::from_secs(100)),
            until: Some(start + Duration::from_secs(300)),
            ..all.clone()
        };
        assert_eq!(list(between).await, ["e2", "e1"]);
        let of_type = |kind| DeliveryFilter { event: Some(kind), ..DeliveryFilter::default() };
        assert_eq!(list(of_type(EventType::ScrapeCompleted)).await.len(), 6);
        assert!(list(of_type(EventType::ProjectCreated)).await.is_empty());
        let page = PageRequest { page: 2, limit: 4 };
        let second = store.deliveries(&owner, hook.id, &all, page).await.unwrap();
        assert_eq!((second.total, second.items.len()), (6, 2));
        let far = PageRequest { page: u64::MAX, limit: 100 };
        assert!(store.deliveries(&owner, hook.id, &all, far).await.unwrap().items.is_empty());
    }

    async fn a_long_list_is_counted_up_to_ten_thousand(database) {
        let hook = webhook(&database.store, "u").await;
        let one = event("u", "e", "{}");
        let fill = |more: std::ops::Range<usize>| {
            let outcomes: Vec<_> = more
                .map(|n| Outcome {
                    delivery: DeliveryId::derive(&hook.user, &one.id, hook.id, &n.to_string()),
                    next_attempt_at: Some(now() - Duration::from_secs(60)),
                    ..planned(&hook, &one)
                })
                .collect();
            let store = database.store.clone();
            async move { store.record(&outcomes).await.unwrap() }
        };
        let count = || async {
            let filter = DeliveryFilter::default();
            let page = PageRequest { page: 100, limit: 100 };
            let page = database.store.deliveries(&hook.user, hook.id, &filter, page).await.unwrap();
            assert_eq!(page.items.len(), 100, "the last counted page is there");
            (page.total, page.total_capped, database.store.count_overdue(now()).await.unwrap())
        };
        fill(0..10_000).await;
        assert_eq!(count().await, (10_000, false, 10_000));
        fill(10_000..10_010).await;
        assert_eq!(count().await, (10_000, true, 10_000));
        // More than one statement cancels.
        database.store.delete_webhook(&hook.user, hook.id).await.unwrap();
        assert_eq!(database.store.count_overdue(now()).await.unwrap(), 0);
    }

    async fn a_list_gone_on_with_after_a_delivery_shows_each_once_whatever_comes_meanwhile(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let start = now() - Duration::from_secs(1_000);
        let made = |name: String, seconds: u64, status| {
            let mut outcome = attempted(&hook, &event("u", &name, "{}"), 1, status);
            outcome.report.as_mut().unwrap().started_at = start + Duration::from_secs(seconds);
            outcome
        };
        // Three at a time at the same moment: only the id tells them apart.
        let old: Vec<_> = (0..30)
            .map(|n| made(format!("e{n}"), n / 3, if n % 2 == 0 { Success } else { Failed }))
            .collect();
        store.record(&old).await.unwrap();
        for (status, expected) in [(None, 30), (Some(Success), 15), (Some(Failed), 15)] {
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let filter = DeliveryFilter { status, after, ..DeliveryFilter::default() };
                // Gone on with, it is the place that counts.
                let page = if after.is_some() { 9 } else { 1 };
                let asked = PageRequest { page, limit: 4 };
                let page = store.deliveries(&hook.user, hook.id, &filter, asked).await.unwrap();
                assert!(page.total >= expected, "all are counted");
                after = page.items.last().map(DeliveryPlace::of);
                seen.extend(page.items.iter().map(|row| (row.triggered_at, row.id.as_uuid())));
                if !page.more {
                    break;
                }
                if status.is_none() {
                    let new = made(format!("new{}", seen.len()), 500 + seen.len() as u64, Success);
                    store.record(&[new]).await.unwrap();
                }
            }
            let first = DeliveryFilter { status, ..DeliveryFilter::default() };
            let whole = store.deliveries(&hook.user, hook.id, &first, FIRST_PAGE).await.unwrap();
            let whole: Vec<_> = whole
                .items
                .iter()
                .filter(|row| row.triggered_at < start + Duration::from_secs(400))
                .map(|row| (row.triggered_at, row.id.as_uuid()))
                .collect();
            assert_eq!(whole.len() as u64, expected);
            seen.retain(|(at, _)| *at < start + Duration::from_secs(400));
            assert_eq!(seen, whole, "each once, in order");
        }
    }

    async fn a_delivery_is_found_only_by_its_user_and_webhook(database) {
        let store = &database.store;
        let (hook, other) = (webhook(store, "u").await, webhook(store, "u").await);
        let outcome = attempted(&hook, &event("u", "e", "{}"), 1, Success);
        store.record(std::slice::from_ref(&outcome)).await.unwrap();
        assert!(store.delivery(&user("u"), hook.id, outcome.delivery).await.is_ok());
        let unknown = planned(&hook, &event("u", "unknown", "{}")).delivery;
        for (owner, webhook, id) in [
            ("stranger", hook.id, outcome.delivery),
            ("u", other.id, outcome.delivery),
            ("u", hook.id, unknown),
        ] {
            let found = store.delivery(&user(owner), webhook, id).await;
            assert!(matches!(found, Err(StoreError::NotFound)), "{found:?}");
        }
    }

    async fn an_event_shows_all_deliveries_it_caused_redeliveries_too(database) {
        let store = &database.store;
        let (first, second) = (webhook(store, "u").await, webhook(store, "u").await);
        let event = event("u", "e", "{}");
        let redelivery = Outcome {
            delivery: DeliveryId::derive(&event.user, &event.id, first.id, "again"),
            cause: Cause::Redelivery,
            ..attempted(&first, &event, 1, Success)
        };
        let outcomes =
            [attempted(&first, &event, 1, Failed), attempted(&second, &event, 1, Success), redelivery];
        store.record(&outcomes).await.unwrap();
        let (row, deliveries) = store.event(&user("u"), &event.id).await.unwrap();
        assert_eq!((row.id, row.payload), (event.id.clone(), event.payload.clone()));
        let mut found: Vec<_> = deliveries.iter().map(|row| row.id).collect();
        let mut expected: Vec<_> = outcomes.iter().map(|outcome| outcome.delivery).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}
