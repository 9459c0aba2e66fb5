use std::time::Duration;

use domain::{Cause, DeliveryId, DeliveryStatus, Webhook};
use store::{DeliveryFilter, KeyedRequest, Outcome, Step, Store};
use time::OffsetDateTime;

use crate::samples::{FIRST_PAGE, attempted, event, now, planned, user, webhook};

use DeliveryStatus::{Failed, Retrying, Success};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Attempt `number` of the event `id`, made `days` ago.
fn ago(hook: &Webhook, id: &str, number: u32, status: DeliveryStatus, days: u32) -> Outcome {
    let mut outcome = attempted(hook, &event(hook.user.as_str(), id, "{}"), number, status);
    if let Some(report) = &mut outcome.report {
        report.started_at = now() - DAY * days;
    }
    outcome
}

async fn removed(store: &Store, before: OffsetDateTime) -> u64 {
    let (mut round, mut count) = (store.retention(before).await.unwrap(), 0);
    while let Step::Removed(removed) = store.remove_old(&mut round).await.unwrap() {
        count += removed;
    }
    count
}

async fn ids(store: &Store, hook: &Webhook) -> Vec<String> {
    let filter = DeliveryFilter::default();
    let page = store.deliveries(&hook.user, hook.id, &filter, FIRST_PAGE).await.unwrap();
    page.items.iter().map(|row| row.event_id.to_string()).collect()
}

on_both_databases! {
    async fn what_ended_long_ago_is_removed_with_its_attempts_and_its_event(database) {
        let store = &database.store;
        let (hook, gone) = (webhook(store, "u").await, webhook(store, "u").await);
        let outcomes = [
            ago(&hook, "old", 1, Retrying, 40),
            ago(&hook, "old", 2, Success, 40),
            ago(&hook, "failed", 5, Failed, 31),
            ago(&hook, "young", 1, Success, 29),
            ago(&gone, "deleted", 1, Success, 35),
        ];
        store.record(&outcomes).await.unwrap();
        store.delete_webhook(&gone.user, gone.id).await.unwrap();
        assert_eq!(removed(store, now() - DAY * 30).await, 3);
        assert_eq!(ids(store, &hook).await, ["young"]);
        for id in ["old", "failed", "deleted"] {
            assert!(store.event(&user("u"), &id.parse().unwrap()).await.is_err(), "{id}");
        }
        let left = store.delivery(&hook.user, hook.id, outcomes[3].delivery).await.unwrap();
        assert_eq!((left.1.payload, left.2.len()), (outcomes[3].event.payload.clone(), 1));
        assert!(store.progress(&[outcomes[0].delivery]).await.unwrap().is_empty());
        let stats = store.webhook(&hook.user, hook.id).await.unwrap().stats;
        assert!(stats.last_triggered_at.is_some());
        assert_eq!(removed(store, now() - DAY * 30).await, 0);
    }

    async fn what_has_not_ended_is_kept_with_its_event_however_old(database) {
        let store = &database.store;
        let (hook, other) = (webhook(store, "u").await, webhook(store, "u").await);
        let outcomes = [
            ago(&hook, "e1", 2, Retrying, 60),
            // The same event, which ended for another webhook.
            ago(&other, "e1", 1, Success, 60),
        ];
        store.record(&outcomes).await.unwrap();
        assert_eq!(removed(store, now() - DAY * 30).await, 1);
        let found = store.overdue(now() + DAY, 10).await.unwrap();
        assert_eq!(found.len(), 1, "and the sweep finds it");
        assert_eq!(found[0].event.payload, outcomes[0].event.payload);
        // Once it has ended it is old.
        store.record(&[ago(&hook, "e1", 3, Success, 60)]).await.unwrap();
        assert_eq!(removed(store, now() - DAY * 30).await, 1);
        assert!(store.event(&user("u"), &"e1".parse().unwrap()).await.is_err());
    }

    async fn a_redelivery_keeps_the_old_event_as_long_as_itself(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let first = ago(&hook, "e1", 1, Success, 40);
        let again = Outcome {
            delivery: DeliveryId::derive(&first.event.user, &first.event.id, hook.id, "again"),
            cause: Cause::Redelivery,
            ..ago(&hook, "e1", 1, Success, 2)
        };
        store.record(&[first, again.clone()]).await.unwrap();
        assert_eq!(removed(store, now() - DAY * 30).await, 1);
        let kept = store.delivery(&hook.user, hook.id, again.delivery).await.unwrap();
        assert_eq!(kept.1.payload, again.event.payload);
        assert_eq!(removed(store, now() - DAY).await, 1);
        assert!(store.event(&user("u"), &"e1".parse().unwrap()).await.is_err());
    }

    async fn many_are_removed_a_batch_at_a_time(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let outcomes: Vec<_> =
            (0..250).map(|n| ago(&hook, &format!("e{n}"), 1, Success, 40)).collect();
        store.record(&outcomes).await.unwrap();
        let mut round = store.retention(now() - DAY * 30).await.unwrap();
        let mut steps = Vec::new();
        while let Step::Removed(count) = store.remove_old(&mut round).await.unwrap() {
            steps.push(count);
        }
        assert_eq!(steps, [100, 100, 50]);
    }

    async fn nothing_is_left_of_an_erased_user(database) {
        let store = &database.store;
        let (hook, gone, other) =
            (webhook(store, "u").await, webhook(store, "u").await, webhook(store, "v").await);
        let outcomes = [
            ago(&hook, "e1", 1, Success, 1),
            planned(&hook, &event("u", "e2", "{}")),
            ago(&gone, "e3", 1, Failed, 1),
            ago(&other, "e1", 1, Success, 1),
        ];
        store.record(&outcomes).await.unwrap();
        store.delete_webhook(&gone.user, gone.id).await.unwrap();
        for owner in ["u", "v"] {
            let user = user(owner);
            let asked = KeyedRequest { user: &user, key: "k", fingerprint: &[7; 32] };
            store.claim_key(asked, DAY).await.unwrap();
        }
        let erased = store.erase_user(&user("u")).await.unwrap();
        assert_eq!((erased.webhooks, erased.deliveries, erased.events), (vec![hook.id], 3, 3));
        assert_eq!(erased.answers, 1, "another's key stays");
        let mine: Vec<_> = outcomes[..3].iter().map(|outcome| outcome.delivery).collect();
        assert!(store.progress(&mine).await.unwrap().is_empty());
        assert!(store.webhook(&user("u"), hook.id).await.is_err());
        assert_eq!(ids(store, &other).await, ["e1"], "another's event of the same id stays");
        assert_eq!(store.erase_user(&user("u")).await.unwrap(), store::Erased::default());
    }
}
