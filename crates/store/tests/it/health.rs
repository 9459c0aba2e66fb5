use std::time::Duration;

use domain::{Cause, DeliveryStatus, Notice, NoticeKind, Webhook};
use store::{HealthRules, Outcome, Store, WebhookChange};
use time::OffsetDateTime;

use crate::samples::{attempted, event, now, webhook};

use DeliveryStatus::{Failed, Retrying, Success};
use NoticeKind::{DeliveryExhausted, WebhookDisabled, WebhookFailing, WebhookRecovered};

const HOUR: Duration = Duration::from_secs(3_600);
const RULES: HealthRules = HealthRules { warning_attempt: 4, disable_after: Some(days(5)) };

const fn days(days: u32) -> Duration {
    Duration::from_secs(days as u64 * 24 * 3_600)
}

/// Attempt `number` of the event `id`, made at `at`.
fn at(
    hook: &Webhook,
    id: &str,
    number: u32,
    status: DeliveryStatus,
    at: OffsetDateTime,
) -> Outcome {
    let mut outcome = attempted(hook, &event("u", id, "{}"), number, status);
    if let Some(report) = &mut outcome.report {
        report.started_at = at;
    }
    outcome
}

async fn judged(store: &Store, outcomes: &[Outcome]) -> Vec<Notice> {
    store.record_and_judge(outcomes, Some(&RULES), None).await.unwrap().notices
}

fn kinds(notices: &[Notice]) -> Vec<NoticeKind> {
    notices.iter().map(|notice| notice.kind).collect()
}

async fn stored(store: &Store, hook: &Webhook) -> Webhook {
    store.webhook(&hook.user, hook.id).await.unwrap().webhook
}

fn switched(on: bool) -> WebhookChange {
    WebhookChange { active: Some(on), ..WebhookChange::default() }
}

on_both_databases! {
    async fn five_days_of_nothing_but_exhausted_deliveries_switch_a_webhook_off(database) {
        let store = &database.store;
        let (hook, other) = (webhook(store, "u").await, webhook(store, "u").await);
        let start = now() - days(10);
        assert_eq!(kinds(&judged(store, &[at(&hook, "e1", 5, Failed, start)]).await), [DeliveryExhausted]);
        judged(store, &[at(&other, "e1", 5, Failed, start + days(1))]).await;
        let almost = start + days(5) - HOUR;
        assert_eq!(kinds(&judged(store, &[at(&hook, "e2", 5, Failed, almost)]).await), [DeliveryExhausted]);
        assert!(stored(store, &hook).await.active);
        let last = at(&hook, "e3", 5, Failed, start + days(5));
        let told = judged(store, std::slice::from_ref(&last)).await;
        assert_eq!(kinds(&told), [DeliveryExhausted, WebhookDisabled]);
        assert_eq!((told[1].webhook, &told[1].user), (hook.id, &hook.user));
        assert!(told[1].body.contains(r#""code":"failing","#) && told[1].body.contains(r#""exhausted":3"#), "{}", told[1].body);
        let off = stored(store, &hook).await;
        assert!(!off.active && off.disabled_at.is_some());
        assert!(off.disabled_reason.unwrap().contains("3 deliveries"));
        assert!(stored(store, &other).await.active);
        // The same outcome again, by a dispatcher that did not learn of its commit.
        assert_eq!(kinds(&judged(store, &[last]).await), []);
    }

    async fn a_success_between_begins_the_five_days_anew(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let start = now() - days(20);
        judged(store, &[at(&hook, "e1", 5, Failed, start)]).await;
        judged(store, &[at(&hook, "e2", 1, Success, start + days(4))]).await;
        judged(store, &[at(&hook, "e3", 5, Failed, start + days(6))]).await;
        judged(store, &[at(&hook, "e4", 5, Failed, start + days(10))]).await;
        assert!(stored(store, &hook).await.active, "four days since the first after the success");
        let told = judged(store, &[at(&hook, "e5", 5, Failed, start + days(11))]).await;
        assert_eq!(kinds(&told), [DeliveryExhausted, WebhookDisabled]);
    }

    async fn a_test_counts_neither_as_success_nor_as_failure(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let start = now() - days(20);
        let test = |outcome: Outcome| Outcome { cause: Cause::Test, ..outcome };
        judged(store, &[at(&hook, "e1", 5, Failed, start)]).await;
        judged(store, &[test(at(&hook, "t1", 1, Success, start + days(1)))]).await;
        let failed = test(at(&hook, "t2", 1, Failed, start + days(6)));
        assert_eq!(kinds(&judged(store, &[failed]).await), []);
        assert!(stored(store, &hook).await.active);
        judged(store, &[at(&hook, "e2", 5, Failed, start + days(6))]).await;
        assert!(!stored(store, &hook).await.active);
    }

    async fn switching_on_again_and_another_url_begin_anew(database) {
        let store = &database.store;
        let start = now() - days(20);
        let elsewhere = WebhookChange { url: Some("https://new.example.com/".into()), ..WebhookChange::default() };
        for changes in [vec![switched(false), switched(true)], vec![elsewhere]] {
            let hook = webhook(store, "u").await;
            judged(store, &[at(&hook, "e1", 5, Failed, start)]).await;
            for change in changes {
                store.update_webhook(&hook.user, hook.id, change).await.unwrap();
            }
            judged(store, &[at(&hook, "e2", 5, Failed, start + days(6))]).await;
            assert!(stored(store, &hook).await.active);
            // And a change of something else does not.
            let renamed = WebhookChange { name: Some("x".into()), active: Some(true), ..WebhookChange::default() };
            store.update_webhook(&hook.user, hook.id, renamed).await.unwrap();
            judged(store, &[at(&hook, "e3", 5, Failed, start + days(12))]).await;
            assert!(!stored(store, &hook).await.active);
        }
    }

    async fn nothing_is_switched_off_where_that_is_not_wanted(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let rules = HealthRules { disable_after: None, ..RULES };
        for (id, ago) in [("e1", 20), ("e2", 1)] {
            let outcome = at(&hook, id, 5, Failed, now() - days(ago));
            store.record_and_judge(&[outcome], Some(&rules), None).await.unwrap();
        }
        assert!(stored(store, &hook).await.active);
    }

    async fn only_five_times_410_switch_a_webhook_off_at_once(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let gone = |id: &str, number: u32, code: u16| {
            let status = if number == 5 { Failed } else { Retrying };
            let mut outcome = at(&hook, id, number, status, now());
            outcome.report.as_mut().unwrap().status = Some(code);
            outcome
        };
        for number in 1..=5 {
            judged(store, &[gone("e1", number, if number == 3 { 503 } else { 410 })]).await;
        }
        assert!(stored(store, &hook).await.active);
        let mut told = Vec::new();
        for number in 1..=5 {
            told = judged(store, &[gone("e2", number, 410)]).await;
        }
        assert_eq!(kinds(&told), [DeliveryExhausted, WebhookDisabled]);
        assert!(told[1].body.contains(r#""code":"gone""#));
        assert!(stored(store, &hook).await.disabled_reason.unwrap().contains("410"));
    }

    async fn a_webhook_is_told_to_be_failing_once_until_it_recovers_and_once_an_hour(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let warn = |id: &str| at(&hook, id, 4, Retrying, now());
        assert_eq!(kinds(&judged(store, &[at(&hook, "e0", 3, Retrying, now())]).await), []);
        let both = [warn("e1"), warn("e2")];
        assert_eq!(kinds(&judged(store, &both).await), [WebhookFailing]);
        assert_eq!(kinds(&judged(store, &[warn("e3")]).await), []);
        assert_eq!(store.failing_webhooks().await.unwrap(), [hook.id]);

        let taken = event("u", "e4", "{}");
        let before = store.webhook_recovered(hook.id, &taken, now() - HOUR).await.unwrap();
        assert!(before.is_none(), "an attempt that began before it failed says nothing");
        let told = store.webhook_recovered(hook.id, &taken, now()).await.unwrap().unwrap();
        assert_eq!(told.kind, WebhookRecovered);
        assert!(store.webhook_recovered(hook.id, &taken, now()).await.unwrap().is_none());
        assert!(store.failing_webhooks().await.unwrap().is_empty());

        assert_eq!(kinds(&judged(store, &[warn("e5")]).await), [], "told a moment ago");
        database.sql(&format!("UPDATE webhook_health SET told_at = told_at - {}", HOUR.as_micros())).await;
        assert_eq!(kinds(&judged(store, &[warn("e6")]).await), [WebhookFailing]);
    }

    async fn a_notice_is_there_with_its_change_until_it_is_told(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        judged(store, &[at(&hook, "e1", 4, Retrying, now()), at(&hook, "e2", 5, Failed, now())]).await;
        let left = store.untold_notices(Duration::ZERO, 10).await.unwrap();
        assert_eq!(kinds(&left), [WebhookFailing], "exhausted deliveries stand in the log");
        assert_eq!((left[0].webhook, &left[0].user), (hook.id, &hook.user));
        assert!(store.untold_notices(HOUR, 10).await.unwrap().is_empty(), "not older");
        store.told(&[left[0].id]).await.unwrap();
        assert!(store.untold_notices(Duration::ZERO, 10).await.unwrap().is_empty());
    }

    async fn two_dispatchers_at_once_switch_a_webhook_off_once(database) {
        let hook = webhook(&database.store, "u").await;
        let start = now() - days(10);
        judged(&database.store, &[at(&hook, "e0", 5, Failed, start)]).await;
        let judging = (0..6).map(|n| {
            let (store, outcome) = (database.store.clone(), at(&hook, &format!("d{n}"), 5, Failed, now()));
            tokio::spawn(async move { judged(&store, &[outcome]).await })
        });
        let all = futures::future::join_all(judging).await;
        let told: Vec<_> = all.into_iter().flat_map(|told| kinds(&told.unwrap())).collect();
        assert_eq!(told.iter().filter(|kind| **kind == WebhookDisabled).count(), 1);
        assert_eq!(told.iter().filter(|kind| **kind == DeliveryExhausted).count(), 6);
    }
}
