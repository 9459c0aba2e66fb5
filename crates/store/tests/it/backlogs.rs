use std::collections::HashSet;
use std::time::Duration;

use domain::{Cause, DeliveryId, DeliveryStatus, Event, UserId, Webhook};
use futures::future::join_all;
use store::{BacklogKey, BacklogPlace, Carried, DeliveryFilter, Outcome, Store, Waits};

use crate::samples::{FIRST_PAGE, attempted, event, now, planned, user, webhook};

use DeliveryStatus::{Cancelled, Failed, Pending, Retrying, Success};

const MOST: u64 = 1_000;
const BYTES: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(60);

/// A delivery that goes to place `place` of the backlog.
pub(crate) fn waiting(webhook: &Webhook, event: &Event, place: i64) -> Outcome {
    in_partition(webhook, event, 0, place)
}

fn in_partition(webhook: &Webhook, event: &Event, partition: i64, place: i64) -> Outcome {
    Outcome {
        next_attempt_at: None,
        waits: Waits::InBacklog { partition, place },
        ..planned(webhook, event)
    }
}

fn parked(webhook: &Webhook, event: &Event) -> Outcome {
    Outcome { waits: Waits::Parked, ..planned(webhook, event) }
}

fn key(webhook: &Webhook) -> BacklogKey {
    BacklogKey { webhook: webhook.id, partition: 0 }
}

async fn lease(store: &Store, holder: &str, length: Duration) {
    assert!(store.acquire_lease(&format!("dispatcher/{holder}"), holder, length).await.unwrap());
}

/// The ids of the events that wait in the backlog, in order.
pub(crate) async fn line(store: &Store, key: BacklogKey) -> Vec<String> {
    let page = store.backlog_page(key, None, MOST, BYTES, &HashSet::new()).await.unwrap();
    page.deliveries.iter().map(|waiting| waiting.task.event.id.to_string()).collect()
}

async fn carried(store: &Store, id: DeliveryId) -> Carried {
    store.progress(&[id]).await.unwrap()[&id].carried
}

async fn shown(store: &Store, hook: &Webhook, id: DeliveryId) -> (DeliveryStatus, Option<String>) {
    let (row, _, _) = store.delivery(&hook.user, hook.id, id).await.unwrap();
    (row.status, row.error)
}

const ROUNDS: usize = 100;

/// Sends all of the rounds, ending the backlog whenever nothing waits.
async fn send_all_and_end(store: Store, hook: Webhook) {
    let mut sent = 0;
    while sent < ROUNDS || !store.end_backlog(key(&hook), "me").await.unwrap() {
        let page =
            store.backlog_page(key(&hook), None, MOST, BYTES, &HashSet::new()).await.unwrap();
        let sending = page.deliveries.iter().map(|waiting| &waiting.task.event);
        let outcomes: Vec<_> = sending.map(|event| attempted(&hook, event, 1, Success)).collect();
        store.record(&outcomes).await.unwrap();
        sent += outcomes.len();
        store.end_backlog(key(&hook), "me").await.unwrap();
    }
}

on_both_databases! {
    async fn what_waits_costs_one_statement_and_what_does_not_wait_none(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let cost = async |outcome: Outcome| {
            let before = store.writes();
            store.record(&[outcome]).await.unwrap();
            // Only SQLite's are counted.
            store.writes().zip(before).map_or(0, |(after, before)| after - before)
        };
        let [quick, slow, first, next] = ["q", "s", "1", "2"].map(|id| event("u", id, "{}"));
        let quick = cost(attempted(&hook, &quick, 1, Success)).await;
        assert!([0, 4].contains(&quick), "events, deliveries, days, commit: {quick}");
        assert!([0, 3].contains(&cost(planned(&hook, &slow)).await));
        for event in [&first, &next] {
            let joining = cost(waiting(&hook, event, 1)).await;
            assert!([0, 4].contains(&joining), "and its backlog: {joining}");
        }
        assert_eq!(cost(attempted(&hook, &first, 1, Success)).await, quick, "its outcome");
        assert_eq!(line(store, key(&hook)).await, ["2"]);
    }

    async fn a_delivery_leaves_its_backlog_by_its_outcome(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let events = ["a", "b", "c", "d", "e"].map(|id| event("u", id, "{}"));
        let all: Vec<_> = events.iter().zip(1..).map(|(e, n)| waiting(&hook, e, n)).collect();
        let written = store.record_and_judge(&all, None, Some("me")).await.unwrap();
        assert_eq!(written.begun, [key(&hook)]);
        let [a, b, c, d, e] = &events;
        let again = store.record_and_judge(&[waiting(&hook, e, 9)], None, Some("me")).await.unwrap();
        assert!(again.begun.is_empty());
        assert_eq!(line(store, key(&hook)).await, ["a", "b", "c", "d", "e"]);

        let retried = attempted(&hook, b, 1, Retrying);
        let cancelled = Outcome { status: Cancelled, ..planned(&hook, c) };
        let in_place = Outcome {
            waits: Waits::InBacklog { partition: 0, place: 4 },
            ..attempted(&hook, d, 1, Retrying)
        };
        let outcomes =
            [attempted(&hook, a, 1, Success), retried.clone(), cancelled, in_place.clone()];
        store.record(&outcomes).await.unwrap();

        assert_eq!(line(store, key(&hook)).await, ["d", "e"]);
        let page = store.backlog_page(key(&hook), None, MOST, BYTES, &HashSet::new()).await.unwrap();
        assert_eq!(page.deliveries[0].task.attempt, 2);
        assert_eq!(page.deliveries[0].task.not_before, in_place.next_attempt_at);
        assert_eq!(page.deliveries[1].task.attempt, 1);
        assert_eq!(page.deliveries[1].task.not_before, None);
        let progress = store.progress(&[retried.delivery]).await.unwrap()[&retried.delivery];
        assert_eq!(progress.next_attempt_at, retried.next_attempt_at);
        assert_eq!(progress.carried, Carried::No);
        assert_eq!(carried(store, in_place.delivery).await, Carried::InBacklog);
    }

    async fn only_an_attempt_a_place_or_an_end_takes_a_delivery_out_of_its_place(database) {
        let store = &database.store;
        let (hook, event) = (webhook(store, "u").await, event("u", "e", "{}"));
        let id = planned(&hook, &event).delivery;
        store.record(&[waiting(&hook, &event, 5)]).await.unwrap();
        for kept in [planned(&hook, &event), parked(&hook, &event)] {
            store.record(&[kept]).await.unwrap();
            let progress = store.progress(&[id]).await.unwrap()[&id];
            assert_eq!((progress.carried, progress.next_attempt_at), (Carried::InBacklog, None));
            let page = store.backlog_page(key(&hook), None, MOST, BYTES, &HashSet::new()).await.unwrap();
            assert_eq!(page.last, Some(BacklogPlace { place: 5, id }));
        }
        store.record(&[waiting(&hook, &event, 7)]).await.unwrap();
        let page = store.backlog_page(key(&hook), None, MOST, BYTES, &HashSet::new()).await.unwrap();
        assert_eq!(page.last, Some(BacklogPlace { place: 7, id }));
        let moved = in_partition(&hook, &event, 8, 1);
        store.record(&[moved]).await.unwrap();
        assert!(line(store, key(&hook)).await.is_empty());
    }

    async fn a_parked_attempt_is_overdue_once_it_must_have_ended(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let [slow, waits] = ["slow", "waits"].map(|id| event("u", id, "{}"));
        let past = Some(now() - Duration::from_secs(100));
        let parked = Outcome { next_attempt_at: past, ..parked(&hook, &slow) };
        let due = Outcome { next_attempt_at: past, ..waiting(&hook, &waits, 1) };
        store.record(&[parked.clone(), due.clone()]).await.unwrap();
        let progress = store.progress(&[parked.delivery]).await.unwrap()[&parked.delivery];
        assert_eq!(progress.carried, Carried::Parked);
        assert_eq!(progress.next_attempt_at, past);

        let overdue = store.overdue(now(), 10).await.unwrap();
        assert_eq!(overdue.len(), 1, "what waits is not overdue");
        assert_eq!(overdue[0].delivery, parked.delivery);
        assert_eq!(store.count_overdue(now()).await.unwrap(), 1);
        let later = now() + LONG;
        store.postpone(&[parked.delivery, due.delivery], later).await.unwrap();
        let progress = store.progress(&[parked.delivery, due.delivery]).await.unwrap();
        assert_eq!(progress[&parked.delivery].carried, Carried::No);
        assert_eq!(progress[&parked.delivery].next_attempt_at, Some(later));
        assert_eq!(progress[&due.delivery].carried, Carried::InBacklog);
        assert_eq!(progress[&due.delivery].next_attempt_at, past);
        store.record(&[attempted(&hook, &slow, 1, Success)]).await.unwrap();
        assert_eq!(carried(store, parked.delivery).await, Carried::No);
    }

    async fn a_backlog_is_read_in_order_in_pages_from_wherever_one_likes(database) {
        let store = &database.store;
        let (hook, other) = (webhook(store, "u").await, webhook(store, "u").await);
        // Many in one place: ties go by id.
        let mut all: Vec<_> = (0..25)
            .map(|n| waiting(&hook, &event("u", &format!("e{n}"), "{}"), n / 10))
            .collect();
        all.push(waiting(&other, &event("u", "other", "{}"), 0));
        all.push(in_partition(&hook, &event("u", "project", "{}"), 1, 0));
        store.record(&all).await.unwrap();
        all.truncate(25);
        let place = |outcome: &Outcome| match outcome.waits {
            Waits::InBacklog { place, .. } => BacklogPlace { place, id: outcome.delivery },
            _ => unreachable!("all of them wait"),
        };
        let mut expected: Vec<_> = all.iter().map(place).collect();
        expected.sort_unstable();
        for _ in 0..2 {
            let (mut after, mut read) = (None, Vec::new());
            loop {
                let page = store.backlog_page(key(&hook), after, 7, BYTES, &HashSet::new()).await.unwrap();
                assert!(page.deliveries.len() <= 7);
                read.extend(page.deliveries.iter().map(|waiting| waiting.place));
                assert_eq!(page.last, read.last().copied());
                after = page.last;
                if !page.full {
                    break;
                }
            }
            assert_eq!(read, expected);
        }
        let end = store.backlog_page(key(&hook), Some(expected[24]), 7, BYTES, &HashSet::new()).await.unwrap();
        assert!(end.deliveries.is_empty() && end.last.is_none() && !end.full);
    }

    async fn a_page_has_about_as_many_bytes_as_asked_for_and_at_least_one_delivery(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));
        let all: Vec<_> = (0..10)
            .map(|n| waiting(&hook, &event("u", &format!("e{n}"), &large), n))
            .collect();
        store.record(&all).await.unwrap();
        for (bytes, rows) in [(0, 1), (35_000, 3), (200_000, 10)] {
            let page = store.backlog_page(key(&hook), None, MOST, bytes, &HashSet::new()).await.unwrap();
            assert_eq!((page.deliveries.len(), page.full), (rows, rows < 10), "{bytes}");
            let last = &page.deliveries[rows - 1];
            assert_eq!(page.last, Some(last.place));
            assert_eq!(last.task.event.payload, all[rows - 1].event.payload, "byte for byte");
            assert_eq!(last.task.cause, Cause::Event);
        }
    }

    async fn what_cannot_be_read_is_passed_by(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let all: Vec<_> =
            (0..3).map(|n| waiting(&hook, &event("u", &format!("e{n}"), "{}"), n)).collect();
        store.record(&all).await.unwrap();
        database.sql("DELETE FROM events WHERE event_id <> 'e1'").await;
        assert_eq!(line(store, key(&hook)).await, ["e1"]);
        let first = store.backlog_page(key(&hook), None, 1, BYTES, &HashSet::new()).await.unwrap();
        assert!(first.deliveries.is_empty() && first.full);
        assert_eq!(first.last.map(|last| last.place), Some(0));
    }

    async fn a_backlog_ends_once_nothing_waits_in_it(database) {
        let store = &database.store;
        let (hook, event) = (webhook(store, "u").await, event("u", "e", "{}"));
        lease(store, "me", LONG).await;
        let joining = store.record_and_judge(&[waiting(&hook, &event, 1)], None, Some("me")).await;
        assert_eq!(joining.unwrap().begun, [key(&hook)]);
        assert!(!store.end_backlog(key(&hook), "me").await.unwrap());
        assert!(store.end_backlog(key(&hook), "other").await.unwrap(), "it is not the other's");
        store.record(&[attempted(&hook, &event, 1, Failed)]).await.unwrap();
        assert_eq!(store.backlog_totals().await.unwrap(), (1, 0));
        assert!(store.end_backlog(key(&hook), "me").await.unwrap());
        assert_eq!(store.backlog_totals().await.unwrap(), (0, 0));
        assert!(store.end_backlog(key(&hook), "me").await.unwrap(), "as it has");
    }

    async fn what_an_earlier_release_ended_is_in_nobodys_way(database) {
        let store = &database.store;
        let (hook, event) = (webhook(store, "u").await, event("u", "e", "{}"));
        store.record_and_judge(&[waiting(&hook, &event, 1)], None, Some("me")).await.unwrap();
        database.sql("UPDATE deliveries SET status = 4").await;
        let page = store.backlog_page(key(&hook), None, MOST, BYTES, &HashSet::new()).await.unwrap();
        assert!(page.deliveries.is_empty() && page.last.is_some());
        assert!(store.end_backlog(key(&hook), "me").await.unwrap());
        assert_eq!(store.adopt_backlogs().await.unwrap(), 0);
        assert_eq!(store.backlog_totals().await.unwrap(), (0, 0));
    }

    async fn a_backlog_has_one_holder_until_its_lease_ends(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        store.record(&[waiting(&hook, &event("u", "e", "{}"), 1)]).await.unwrap();
        let silent = now();
        store.mark_silent(hook.id, Some(silent)).await.unwrap();
        lease(store, "a", LONG).await;
        lease(store, "b", LONG).await;
        let claimed = store.claim_backlogs("a", 10).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!((claimed[0].key, &claimed[0].user), (key(&hook), &user("u")));
        assert_eq!(claimed[0].silent_since, Some(silent));
        assert_eq!(store.held_backlogs("a").await.unwrap(), claimed);
        assert!(store.claim_backlogs("b", 10).await.unwrap().is_empty());
        lease(store, "a", Duration::ZERO).await;
        assert_eq!(store.claim_backlogs("b", 10).await.unwrap(), claimed);
        assert!(store.held_backlogs("a").await.unwrap().is_empty());
        lease(store, "a", LONG).await;
        assert!(store.claim_backlogs("a", 10).await.unwrap().is_empty());
        store.mark_silent(hook.id, None).await.unwrap();
        store.release_backlogs("b").await.unwrap();
        let again = store.claim_backlogs("a", 10).await.unwrap();
        assert_eq!((again[0].key, again[0].silent_since), (key(&hook), None));
        // One that never had a lease.
        let (other, e) = (webhook(store, "u").await, event("u", "o", "{}"));
        store.record_and_judge(&[waiting(&other, &e, 1)], None, Some("gone")).await.unwrap();
        assert_eq!(store.claim_backlogs("a", 10).await.unwrap()[0].key, key(&other));
    }

    async fn of_many_who_claim_at_once_each_gets_others(database) {
        let store = &database.store;
        let e = event("u", "e", "{}");
        let mut hooks = Vec::new();
        for _ in 0..60 {
            hooks.push(webhook(store, "u").await);
        }
        let all: Vec<_> = hooks.iter().map(|hook| waiting(hook, &e, 1)).collect();
        store.record(&all).await.unwrap();
        let claiming = (0..8).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let holder = n.to_string();
                lease(&store, &holder, LONG).await;
                let mut claimed = store.claim_backlogs(&holder, 5).await.unwrap();
                assert!(claimed.len() <= 5);
                claimed.extend(store.claim_backlogs(&holder, 3).await.unwrap());
                claimed.into_iter().map(|claimed| claimed.key).collect::<Vec<_>>()
            })
        });
        let mut keys: Vec<_> =
            join_all(claiming).await.into_iter().flat_map(Result::unwrap).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "nobody else's");
        let rest = store.claim_backlogs("0", 1_000).await.unwrap();
        assert_eq!(count + rest.len(), 60);
    }

    async fn nothing_that_joins_while_a_backlog_is_ended_is_lost(database) {
        let store = &database.store;
        lease(store, "me", LONG).await;
        let racing = (0..3).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let hook = webhook(&store, "u").await;
                let sending = tokio::spawn(send_all_and_end(store.clone(), hook.clone()));
                let mut begun = 0;
                for round in 0..ROUNDS {
                    let e = event("u", &format!("e{round}"), "{}");
                    let outcome = waiting(&hook, &e, 1);
                    let id = outcome.delivery;
                    let written = store.record_and_judge(&[outcome], None, Some("me")).await;
                    begun += written.unwrap().begun.len();
                    let without = store.adopt_backlogs().await.unwrap();
                    assert_eq!(without, 0, "what has joined has a backlog");
                    // The next joins just when the backlog is being ended.
                    while store.progress(&[id]).await.unwrap()[&id].status != Success {}
                }
                sending.await.unwrap();
                begun
            })
        });
        let begun = join_all(racing).await.into_iter().map(Result::unwrap).sum::<usize>();
        assert!(begun > 3, "some ended between: {begun}");
        assert_eq!(store.backlog_totals().await.unwrap(), (0, 0));
    }

    async fn those_who_join_many_backlogs_in_any_order_do_not_wait_in_a_circle(database) {
        let store = &database.store;
        let mut hooks = Vec::new();
        for _ in 0..30 {
            hooks.push(webhook(store, "u").await);
        }
        let writers = (0..6).map(|writer: usize| {
            let (store, mut hooks) = (store.clone(), hooks.clone());
            hooks.rotate_left(writer * 5);
            tokio::spawn(async move {
                let mut begun = Vec::new();
                for round in 0..10 {
                    let e = event("u", &format!("e{}", (round + writer) % 10), "{}");
                    let all: Vec<_> = hooks.iter().map(|hook| waiting(hook, &e, 1)).collect();
                    begun.extend(store.record_and_judge(&all, None, None).await.unwrap().begun);
                    for hook in &hooks {
                        store.mark_silent(hook.id, None).await.unwrap();
                    }
                }
                begun
            })
        });
        let mut begun: Vec<_> =
            join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
        begun.sort_unstable();
        let mut all: Vec<_> = hooks.iter().map(key).collect();
        all.sort_unstable();
        assert_eq!(begun, all, "each began once");
        assert_eq!(store.backlog_totals().await.unwrap(), (30, 300));
    }

    async fn what_waits_without_a_backlog_is_adopted(database) {
        let store = &database.store;
        let (one, two) = (webhook(store, "u").await, webhook(store, "v").await);
        let mut all = Vec::new();
        for n in 0..5 {
            all.push(waiting(&one, &event("u", &format!("e{n}"), "{}"), n));
            all.push(in_partition(&one, &event("u", &format!("p{n}"), "{}"), n, n));
            all.push(in_partition(&two, &event("v", &format!("e{n}"), "{}"), 1 << 62, n));
        }
        store.record(&all).await.unwrap();
        assert_eq!(store.adopt_backlogs().await.unwrap(), 0);
        let gone = "DELETE FROM backlogs WHERE partition_key <> 3";
        database.sql(gone).await;
        assert_eq!(store.adopt_backlogs().await.unwrap(), 5);
        assert_eq!(store.adopt_backlogs().await.unwrap(), 0);
        lease(store, "a", LONG).await;
        let claimed = store.claim_backlogs("a", 100).await.unwrap();
        assert_eq!(claimed.len(), 6);
        let of_two = claimed.iter().find(|claimed| claimed.key.webhook == two.id).unwrap();
        assert_eq!((of_two.key.partition, &of_two.user), (1 << 62, &user("v")));
    }

    async fn what_was_outlived_ends_with_its_reason_and_counts_as_failed(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let all: Vec<_> =
            (0..4).map(|n| waiting(&hook, &event("u", &format!("e{n}"), "{}"), n)).collect();
        store.record(&all).await.unwrap();
        let failed = attempted(&hook, &all[1].event, 1, Retrying);
        let failed = Outcome { waits: all[1].waits, ..failed };
        store.record(std::slice::from_ref(&failed)).await.unwrap();
        let none = store.outlived(key(&hook), now() - LONG, 10).await.unwrap();
        assert!(none.is_empty());
        let outlived = store.outlived(key(&hook), now() + LONG, 3).await.unwrap();
        let ids: Vec<_> = outlived.iter().map(|gone| gone.task.event.id.as_str()).collect();
        assert_eq!(ids, ["e0", "e1", "e2"]);
        assert_eq!(outlived[1].task.attempt, 2);

        let reason = "endpoint did not answer since 2026-02-02T12:00:00Z";
        let ends: Vec<_> = outlived
            .iter()
            .map(|gone| Outcome {
                attempt: gone.task.attempt - 1,
                status: Failed,
                next_attempt_at: None,
                reason: Some(reason.to_owned()),
                ..planned(&hook, &gone.task.event)
            })
            .collect();
        let rules =
            store::HealthRules { warning_attempt: 4, disable_after: Some(Duration::ZERO) };
        let written = store.record_and_judge(&ends, Some(&rules), None).await.unwrap();
        let kinds: Vec<_> = written.notices.iter().map(|notice| notice.kind).collect();
        assert_eq!(kinds[..3], [domain::NoticeKind::DeliveryExhausted; 3]);
        assert_eq!(kinds[3..], [domain::NoticeKind::WebhookDisabled], "as after five attempts");
        assert!(written.notices[0].body.contains(reason));
        assert_eq!(line(store, key(&hook)).await, ["e3"]);
        for gone in &ends {
            let shown = shown(store, &hook, gone.delivery).await;
            assert_eq!(shown, (Failed, Some(reason.to_owned())));
        }
        let (row, _, attempts) =
            store.delivery(&hook.user, hook.id, failed.delivery).await.unwrap();
        assert_eq!((row.attempts, attempts.len(), row.status_code), (1, 1, Some(500)));
        let stats = store.webhook(&hook.user, hook.id).await.unwrap().stats;
        assert_eq!(stats.success_rate, Some(0.0));
        // The same again changes nothing.
        let again = store.record_and_judge(&ends, Some(&rules), None).await.unwrap();
        assert!(again.notices.is_empty());
    }

    async fn how_much_waits_is_told(database) {
        let store = &database.store;
        let (hook, other) = (webhook(store, "u").await, webhook(store, "u").await);
        assert_eq!(store.backlog_of(hook.id).await.unwrap(), store::BacklogDepth::default());
        let (first, silent) = (now() - LONG, now());
        let place = i64::try_from(first.unix_timestamp_nanos() / 1_000).unwrap();
        let all: Vec<_> = (0..6)
            .map(|n| {
                in_partition(&hook, &event("u", &format!("e{n}"), "{}"), n % 2, place + 5 - n)
            })
            .collect();
        store.record(&all).await.unwrap();
        store.record(&[waiting(&other, &all[0].event, 1)]).await.unwrap();
        store.mark_silent(hook.id, Some(silent)).await.unwrap();
        let depth = store.backlog_of(hook.id).await.unwrap();
        assert_eq!((depth.waiting, depth.capped), (6, false));
        assert_eq!((depth.since, depth.silent_since), (Some(first), Some(silent)));
        assert_eq!(store.backlog_of(other.id).await.unwrap().silent_since, None);
        assert_eq!(store.backlog_totals().await.unwrap(), (3, 7));
    }

    async fn what_waits_of_a_deleted_webhook_is_cancelled_and_leaves(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let all = [1, 2].map(|n| waiting(&hook, &event("u", &format!("e{n}"), "{}"), n));
        store.record_and_judge(&all, None, Some("me")).await.unwrap();
        store.delete_webhook(&hook.user, hook.id).await.unwrap();
        assert!(line(store, key(&hook)).await.is_empty());
        let progress = store.progress(&[all[0].delivery]).await.unwrap()[&all[0].delivery];
        assert_eq!((progress.status, progress.carried), (Cancelled, Carried::No));
        assert!(store.end_backlog(key(&hook), "me").await.unwrap());
        assert_eq!(store.backlog_totals().await.unwrap(), (0, 0));
    }

    async fn an_erased_users_backlogs_are_gone(database) {
        let store = &database.store;
        let (hook, kept) = (webhook(store, "u").await, webhook(store, "v").await);
        let outcomes =
            [waiting(&hook, &event("u", "e", "{}"), 1), waiting(&kept, &event("v", "e", "{}"), 1)];
        store.record(&outcomes).await.unwrap();
        store.erase_user(&user("u")).await.unwrap();
        assert_eq!(store.backlog_totals().await.unwrap(), (1, 1));
        assert_eq!(line(store, key(&kept)).await, ["e"]);
    }

    async fn the_event_of_what_waits_is_kept_however_old(database) {
        let store = &database.store;
        let (hook, other) = (webhook(store, "u").await, webhook(store, "u").await);
        let e = event("u", "e", "{}");
        let outcomes = [waiting(&hook, &e, 1), attempted(&other, &e, 1, Success)];
        store.record(&outcomes).await.unwrap();
        database.sql("UPDATE deliveries SET triggered_at = 1000").await;
        let mut round = store.retention(now()).await.unwrap();
        while store.remove_old(&mut round).await.unwrap() != store::Step::Done {}
        assert_eq!(line(store, key(&hook)).await, ["e"]);
        let all = DeliveryFilter::default();
        let list = store.deliveries(&user("u"), other.id, &all, FIRST_PAGE).await.unwrap();
        assert!(list.items.is_empty());
    }

    async fn nothing_of_a_backlog_is_shown_but_that_it_has_not_ended(database) {
        let store = &database.store;
        let (hook, e) = (webhook(store, "u").await, event("u", "e", "{}"));
        let outcome = waiting(&hook, &e, 1);
        store.record(std::slice::from_ref(&outcome)).await.unwrap();
        assert_eq!(shown(store, &hook, outcome.delivery).await, (Pending, None));
        let owner: UserId = user("u");
        let (_, deliveries) = store.event(&owner, &e.id).await.unwrap();
        assert_eq!(deliveries[0].next_attempt_at, None);
    }
}
