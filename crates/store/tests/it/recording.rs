use std::time::Duration;

use bytes::Bytes;
use domain::{AttemptFailure, DeliveryId, DeliveryStatus, FailureKind, Webhook};
use futures::future::join_all;
use store::{DeliveryFilter, Outcome, Store};

use crate::samples::{FIRST_PAGE, attempted, event, now, planned, user, webhook};

use DeliveryStatus::{Cancelled, Failed, Pending, Retrying, Success};

/// Everything that the API shows of a webhook's deliveries.
async fn shown(store: &Store, webhook: &Webhook) -> String {
    let filter = DeliveryFilter::default();
    let list = store.deliveries(&webhook.user, webhook.id, &filter, FIRST_PAGE).await.unwrap();
    let mut text = String::new();
    for row in &list.items {
        let one = store.delivery(&webhook.user, webhook.id, row.id).await.unwrap();
        text += &format!("{one:#?}\n");
    }
    let stats = store.webhook(&webhook.user, webhook.id).await.unwrap().stats;
    format!("{text}{stats:?}")
}

/// A batch of everything: a deferral, a success, and a delivery with two attempts.
fn batch(webhook: &Webhook) -> Vec<Outcome> {
    let [deferred, taken, failing] =
        ["e1", "e2", "e3"].map(|id| event("u", id, r#"{"n":1.0, "é":"x"}"#));
    vec![
        attempted(webhook, &failing, 2, Retrying),
        attempted(webhook, &taken, 1, Success),
        planned(webhook, &deferred),
        attempted(webhook, &failing, 1, Retrying),
    ]
}

on_both_databases! {
    async fn everything_recorded_is_shown(database) {
        let hook = webhook(&database.store, "u").await;
        let outcomes = batch(&hook);
        database.store.record(&outcomes).await.unwrap();
        let id = outcomes[0].delivery;
        let (row, event, attempts) =
            database.store.delivery(&user("u"), hook.id, id).await.unwrap();
        assert_eq!((row.status, row.attempts, row.status_code), (Retrying, 2, Some(500)));
        assert_eq!(row.error.as_deref(), Some("Internal Server Error 2"));
        assert_eq!((row.response_time_ms, row.next_attempt_at), (Some(20), outcomes[0].next_attempt_at));
        let first = outcomes[3].report.as_ref().unwrap();
        assert_eq!(row.triggered_at, first.started_at, "when the first attempt was made");
        assert_eq!(row.payload_size, event.payload.len() as u64);
        assert_eq!(event.payload, outcomes[0].event.payload, "byte for byte");
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1, 2]);
        assert_eq!(attempts[0].started_at, first.started_at);
        assert_eq!(attempts[0].error_kind.as_deref(), Some("status"));
        assert_eq!(attempts[1].response_body.as_deref(), Some("answer 2"));
        assert_eq!(attempts[1].address.as_deref(), Some("93.184.216.34:443"));
        let deferred = database.store.progress(&[outcomes[2].delivery]).await.unwrap();
        assert_eq!(deferred[&outcomes[2].delivery].status, Pending);
    }

    async fn the_same_batch_again_changes_nothing(database) {
        let hook = webhook(&database.store, "u").await;
        let outcomes = batch(&hook);
        database.store.record(&outcomes).await.unwrap();
        let before = shown(&database.store, &hook).await;
        database.store.record(&outcomes).await.unwrap();
        database.store.record(&outcomes[1..]).await.unwrap();
        assert_eq!(shown(&database.store, &hook).await, before);
    }

    async fn of_a_batch_that_is_known_in_part_the_rest_is_recorded(database) {
        let hook = webhook(&database.store, "u").await;
        let outcomes = [("known", Failed), ("new", Success), ("newer", Success)]
            .map(|(id, status)| attempted(&hook, &event("u", id, "{}"), 1, status));
        database.store.record(&outcomes[..1]).await.unwrap();
        database.store.record(&outcomes).await.unwrap();
        let ids = outcomes.each_ref().map(|outcome| outcome.delivery);
        let progress = database.store.progress(&ids).await.unwrap();
        assert_eq!(ids.map(|id| progress[&id].status), [Failed, Success, Success]);
        let stats = database.store.webhook(&user("u"), hook.id).await.unwrap().stats;
        assert_eq!(stats.success_rate, Some(2.0 / 3.0), "each counted once");
    }

    async fn the_same_batch_by_two_dispatchers_at_once_is_recorded_once(database) {
        let hook = webhook(&database.store, "u").await;
        for round in 0..10 {
            let outcomes: Vec<_> = (0..60)
                .map(|n| attempted(&hook, &event("u", &format!("e{round}-{n}"), "{}"), 1, Success))
                .collect();
            let writers = (0..4).map(|writer| {
                let (store, mut outcomes) = (database.store.clone(), outcomes.clone());
                // Each meets the rows in another order.
                outcomes.rotate_left(writer * 13);
                tokio::spawn(async move { store.record(&outcomes).await })
            });
            for result in join_all(writers).await {
                result.unwrap().unwrap();
            }
        }
        let failed = attempted(&hook, &event("u", "last", "{}"), 1, Failed);
        database.store.record(&[failed]).await.unwrap();
        let stats = database.store.webhook(&user("u"), hook.id).await.unwrap().stats;
        assert_eq!(stats.success_rate, Some(600.0 / 601.0), "each counted once");
    }

    async fn outcomes_of_one_delivery_by_many_at_once_leave_the_furthest(database) {
        let hook = webhook(&database.store, "u").await;
        let events: Vec<_> = (0..20).map(|n| event("u", &format!("e{n}"), "{}")).collect();
        let writers = (1..=4).flat_map(|number| [number, number]).map(|number| {
            let status = if number == 4 { Failed } else { Retrying };
            let outcomes: Vec<_> =
                events.iter().map(|event| attempted(&hook, event, number, status)).collect();
            let store = database.store.clone();
            tokio::spawn(async move { store.record(&outcomes).await })
        });
        for result in join_all(writers).await {
            result.unwrap().unwrap();
        }
        let ids: Vec<_> = events.iter().map(|event| planned(&hook, event).delivery).collect();
        let progress = database.store.progress(&ids).await.unwrap();
        assert!(progress.values().all(|p| (p.status, p.attempts) == (Failed, 4)), "{progress:?}");
        let stats = database.store.webhook(&user("u"), hook.id).await.unwrap().stats;
        assert_eq!(stats.success_rate, Some(0.0));
    }

    async fn a_late_outcome_overwrites_nothing(database) {
        let (hook, event) = (webhook(&database.store, "u").await, event("u", "e", "{}"));
        let id = planned(&hook, &event).delivery;
        database.store.record(&[attempted(&hook, &event, 1, Retrying)]).await.unwrap();
        database.store.record(&[attempted(&hook, &event, 2, Retrying)]).await.unwrap();
        let before = shown(&database.store, &hook).await;

        let mut other_claim = attempted(&hook, &event, 2, Success);
        other_claim.report.as_mut().unwrap().response = Bytes::from_static(b"another's");
        let late_cancellation = Outcome { status: Cancelled, ..planned(&hook, &event) };
        for late in [
            attempted(&hook, &event, 1, Success),
            other_claim,
            planned(&hook, &event),
            late_cancellation,
        ] {
            database.store.record(&[late]).await.unwrap();
            assert_eq!(shown(&database.store, &hook).await, before);
        }

        database.store.record(&[attempted(&hook, &event, 3, Success)]).await.unwrap();
        let done = shown(&database.store, &hook).await;
        for late in [attempted(&hook, &event, 4, Failed), attempted(&hook, &event, 3, Retrying)] {
            database.store.record(&[late]).await.unwrap();
            assert_eq!(shown(&database.store, &hook).await, done, "what has ended stays");
        }
        let progress = database.store.progress(&[id]).await.unwrap()[&id];
        assert_eq!((progress.status, progress.attempts, progress.next_attempt_at), (Success, 3, None));
    }

    async fn attempts_stand_without_gaps_and_as_often_as_they_count(database) {
        let (hook, event) = (webhook(&database.store, "u").await, event("u", "e", "{}"));
        let mut all: Vec<_> =
            (1..=4).map(|number| attempted(&hook, &event, number, Retrying)).collect();
        all.push(attempted(&hook, &event, 5, Failed));
        all.reverse();
        database.store.record(&all).await.unwrap();
        let (row, _, attempts) =
            database.store.delivery(&user("u"), hook.id, all[0].delivery).await.unwrap();
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        assert_eq!((row.status, row.attempts), (Failed, 5));
    }

    async fn a_deferral_moves_the_time_and_leaves_the_result(database) {
        let (hook, event) = (webhook(&database.store, "u").await, event("u", "e", "{}"));
        let id = planned(&hook, &event).delivery;
        database.store.record(&[attempted(&hook, &event, 1, Retrying)]).await.unwrap();
        let later = now() + Duration::from_secs(999);
        let deferral = Outcome {
            attempt: 1,
            status: Retrying,
            next_attempt_at: Some(later),
            ..planned(&hook, &event)
        };
        database.store.record(&[deferral]).await.unwrap();
        let (row, _, attempts) = database.store.delivery(&user("u"), hook.id, id).await.unwrap();
        assert_eq!((row.status, row.attempts, row.next_attempt_at), (Retrying, 1, Some(later)));
        assert_eq!((row.status_code, row.response_time_ms), (Some(500), Some(10)));
        assert_eq!(row.error.as_deref(), Some("Internal Server Error 1"));
        assert_eq!(attempts.len(), 1);

        let cancelled = Outcome { attempt: 1, status: Cancelled, ..planned(&hook, &event) };
        database.store.record(&[cancelled]).await.unwrap();
        let progress = database.store.progress(&[id]).await.unwrap()[&id];
        assert_eq!((progress.status, progress.attempts, progress.next_attempt_at), (Cancelled, 1, None));
    }

    async fn an_event_is_stored_once_and_its_first_body_wins(database) {
        let store = &database.store;
        let (hook, other) = (webhook(store, "u").await, webhook(store, "u").await);
        let first = event("u", "e", r#"{ "n" : 1.0,"k":"\u00e9"}"#);
        let second = event("u", "e", r#"{"n":2}"#);
        store.record(&[attempted(&hook, &first, 1, Success)]).await.unwrap();
        store.record(&[attempted(&other, &second, 1, Success)]).await.unwrap();
        let (row, deliveries) = store.event(&user("u"), &first.id).await.unwrap();
        assert_eq!(row.payload, first.payload);
        assert_eq!(deliveries.len(), 2);
        assert!(store.event(&user("stranger"), &first.id).await.is_err());
    }

    async fn answers_of_endpoints_are_stored_whatever_their_bytes(database) {
        let (hook, event) = (webhook(&database.store, "u").await, event("u", "e", "{}"));
        let mut outcome = attempted(&hook, &event, 1, Failed);
        let report = outcome.report.as_mut().unwrap();
        report.response = Bytes::from_static(b"a\0b\xff\x1b[31m\xc2\x9bc\n\xed\xa0\x80");
        report.failure =
            Some(AttemptFailure { kind: FailureKind::Status, text: "No\0pe\u{7f}".into() });
        let id = outcome.delivery;
        database.store.record(&[outcome]).await.unwrap();
        let (row, _, attempts) = database.store.delivery(&user("u"), hook.id, id).await.unwrap();
        assert_eq!(row.error.as_deref(), Some("Nope"));
        assert_eq!(attempts[0].response_body.as_deref(), Some("ab\u{fffd}[31mc\n\u{fffd}\u{fffd}\u{fffd}"));
    }

    async fn a_thousand_outcomes_are_one_batch_and_unknown_deliveries_have_no_progress(database) {
        let hook = webhook(&database.store, "u").await;
        let outcomes: Vec<_> = (0..1_100)
            .map(|n| attempted(&hook, &event("u", &format!("e{n}"), "{}"), 1, Success))
            .collect();
        database.store.record(&outcomes).await.unwrap();
        database.store.record(&[]).await.unwrap();
        let mut ids: Vec<_> = outcomes.iter().map(|outcome| outcome.delivery).collect();
        let unknown = DeliveryId::derive(&user("u"), &"none".parse().unwrap(), hook.id, "");
        ids.push(unknown);
        let progress = database.store.progress(&ids).await.unwrap();
        assert_eq!(progress.len(), 1_100);
        assert!(!progress.contains_key(&unknown));
    }
}
