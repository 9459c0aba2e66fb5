use domain::{Cause, DeliveryId, DeliveryStatus, JobId, Webhook};
use store::{Job, JobKind, JobScope, JobStatus, NewJob, Outcome, Store, StoreError};
use time::Duration;

use crate::samples::{FIRST_PAGE, attempted, event, now, planned, user, webhook};

fn new_job(webhook: &Webhook, scope: JobScope) -> NewJob {
    NewJob {
        id: JobId::generate(),
        user: webhook.user.clone(),
        webhook: webhook.id,
        kind: JobKind::Redelivery,
        scope,
        since: now() - Duration::hours(1),
        until: now() + Duration::hours(1),
    }
}

async fn job(store: &Store, webhook: &Webhook, scope: JobScope) -> Job {
    store.create_job(new_job(webhook, scope), 100).await.unwrap().unwrap()
}

/// The ids of the events of the whole range, page by page.
async fn walk(store: &Store, mut job: Job, limit: u64) -> (Vec<String>, Job) {
    let mut ids = Vec::new();
    loop {
        let page = store.next_of_range(&job, limit).await.unwrap();
        if page.is_end() {
            return (ids, job);
        }
        ids.extend(page.events.iter().map(|event| event.id.to_string()));
        let mut counts = job.counts;
        counts.done += page.events.len() as u64;
        counts.skipped += page.skipped;
        counts.failed += page.failed;
        job = store.advance_job(&job, Some(&page), counts, None).await.unwrap().unwrap();
    }
}

async fn failed(store: &Store, webhook: &Webhook, count: usize) {
    let of = |n: usize| event("u", &format!("e{n:03}"), "{}");
    let all: Vec<Outcome> =
        (0..count).map(|n| attempted(webhook, &of(n), 1, DeliveryStatus::Failed)).collect();
    store.record(&all).await.unwrap();
}

on_both_databases! {
    async fn a_range_is_walked_whole_and_once_in_the_order_of_time(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        failed(store, &hook, 25).await;
        let other = webhook(store, "u").await;
        failed(store, &other, 3).await;
        for n in 100..105 {
            let event = event("u", &format!("e{n}"), "{}");
            store.record(&[attempted(&hook, &event, 1, DeliveryStatus::Success)]).await.unwrap();
        }
        let made = job(store, &hook, JobScope::Failed).await;
        assert_eq!((made.counts.total, made.total_capped), (25, false));
        let (mut ids, walked) = walk(store, made, 10).await;
        ids.sort_unstable();
        assert_eq!(ids, (0..25).map(|n| format!("e{n:03}")).collect::<Vec<_>>());
        assert_eq!((walked.status, walked.counts.done), (JobStatus::Running, 25));
        store.end_job(&walked, None).await.unwrap();
        let ended = store.job(&hook.user, hook.id, walked.id).await.unwrap();
        assert_eq!((ended.status, ended.counts.total), (JobStatus::Done, 25));
        assert!(ended.finished_at.is_some());

        let (ids, _) = walk(store, job(store, &hook, JobScope::Success).await, 2).await;
        assert_eq!(ids, (100..105).map(|n| format!("e{n}")).collect::<Vec<_>>());
        assert_eq!(walk(store, job(store, &hook, JobScope::All).await, 7).await.0.len(), 30);
    }

    async fn what_is_outside_the_range_or_not_ended_is_left_out(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        failed(store, &hook, 2).await;
        let pending = event("u", "pending", "{}");
        store.record(&[planned(&hook, &pending)]).await.unwrap();
        let test = event("u", "test", "{}");
        let test = Outcome { cause: Cause::Test, ..attempted(&hook, &test, 1, DeliveryStatus::Failed) };
        store.record(&[test]).await.unwrap();
        assert_eq!(walk(store, job(store, &hook, JobScope::All).await, 10).await.0.len(), 2);
        let past = NewJob { until: now() - Duration::minutes(1), ..new_job(&hook, JobScope::All) };
        let past = store.create_job(past, 100).await.unwrap().unwrap();
        assert_eq!((past.counts.total, walk(store, past, 10).await.0.len()), (0, 0));
    }

    async fn an_event_that_a_redelivery_brought_since_is_skipped_and_one_not_kept_is_counted(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        failed(store, &hook, 3).await;
        let first = event("u", "e000", "{}");
        let again = Outcome {
            delivery: DeliveryId::derive(&first.user, &first.id, hook.id, "again"),
            cause: Cause::Redelivery,
            ..attempted(&hook, &first, 1, DeliveryStatus::Success)
        };
        store.record(&[again]).await.unwrap();
        database.sql("DELETE FROM events WHERE event_id = 'e001'").await;
        let (ids, walked) = walk(store, job(store, &hook, JobScope::Failed).await, 10).await;
        assert_eq!(ids, ["e002"]);
        let counts = walked.counts;
        assert_eq!((counts.done, counts.skipped, counts.failed), (1, 1, 1));
    }

    async fn what_a_job_brought_before_its_step_was_cut_short_is_done_and_not_skipped(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        failed(store, &hook, 2).await;
        let made = job(store, &hook, JobScope::Failed).await;
        let first = event("u", "e000", "{}");
        let brought = Outcome {
            delivery: made.delivery_of(&first),
            cause: made.cause(),
            ..attempted(&hook, &first, 1, DeliveryStatus::Success)
        };
        store.record(&[brought]).await.unwrap();
        let (_, walked) = walk(store, made, 10).await;
        assert_eq!((walked.counts.done, walked.counts.skipped), (2, 0));
    }

    async fn of_two_who_take_a_job_forward_one_does_and_a_cancelled_one_stands(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        failed(store, &hook, 2).await;
        let made = job(store, &hook, JobScope::Failed).await;
        let page = store.next_of_range(&made, 1).await.unwrap();
        let step = || store.advance_job(&made, Some(&page), made.counts, None);
        let next = step().await.unwrap().unwrap();
        assert!(step().await.unwrap().is_none(), "somebody else was here");
        assert!(!store.job_stands(&made).await.unwrap() && store.job_stands(&next).await.unwrap());
        let cancelled = store.cancel_job(&hook.user, hook.id, made.id, "why").await.unwrap();
        assert_eq!((cancelled.status, cancelled.reason.as_deref()), (JobStatus::Cancelled, Some("why")));
        assert!(store.advance_job(&next, None, next.counts, None).await.unwrap().is_none());
        assert!(!store.job_stands(&next).await.unwrap());
        store.end_job(&next, None).await.unwrap();
        let kept = store.job(&hook.user, hook.id, made.id).await.unwrap();
        assert_eq!(kept.status, JobStatus::Cancelled);
        assert!(store.unfinished_jobs(10).await.unwrap().is_empty());
    }

    async fn jobs_are_their_users_and_go_with_their_webhook(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        let new = new_job(&hook, JobScope::Failed);
        let made = store.create_job(new.clone(), 1).await.unwrap().unwrap();
        assert_eq!(store.create_job(new, 1).await.unwrap().unwrap().id, made.id, "the same again");
        assert!(store.create_job(new_job(&hook, JobScope::All), 1).await.unwrap().is_none());
        let stranger = user("other");
        let own = webhook(store, "other").await;
        for (user, webhook) in [(&stranger, hook.id), (&stranger, own.id)] {
            let found = store.job(user, webhook, made.id).await;
            assert!(matches!(found, Err(StoreError::NotFound)));
            let cancelled = store.cancel_job(user, webhook, made.id, "mine").await;
            assert!(matches!(cancelled, Err(StoreError::NotFound)));
        }
        assert_eq!(store.jobs(&hook.user, hook.id, None, FIRST_PAGE).await.unwrap().total, 1);
        assert_eq!(store.unfinished_jobs(10).await.unwrap().len(), 1);
        store.delete_webhook(&hook.user, hook.id).await.unwrap();
        assert!(store.unfinished_jobs(10).await.unwrap().is_empty());
    }

    async fn the_last_hundred_jobs_of_a_webhook_are_kept(database) {
        let store = &database.store;
        let hook = webhook(store, "u").await;
        for _ in 0..104 {
            let made = job(store, &hook, JobScope::Failed).await;
            store.end_job(&made, None).await.unwrap();
        }
        let first = store.jobs(&hook.user, hook.id, None, FIRST_PAGE).await.unwrap();
        assert_eq!((first.total, first.more), (101, true));
        let last = first.items.last().unwrap().id;
        let next = store.jobs(&hook.user, hook.id, Some(last), FIRST_PAGE).await.unwrap();
        assert!(next.items[0].id < last, "newest first, across pages");
    }
}
