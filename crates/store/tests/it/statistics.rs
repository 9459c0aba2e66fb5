use std::time::Duration;

use domain::{Cause, DeliveryStatus};
use store::{Outcome, WebhookFilter};

use crate::samples::{FIRST_PAGE, attempted, event, now, user, webhook};

on_both_databases! {
    async fn the_success_rate_counts_deliveries_that_ended_in_the_last_seven_days(database) {
        use DeliveryStatus::{Failed, Retrying, Success};
        let store = &database.store;
        let (hook, quiet) = (webhook(store, "u").await, webhook(store, "u").await);
        let ended = |id: &str, status, days: u64| {
            let mut outcome = attempted(&hook, &event("u", id, "{}"), 1, status);
            let report = outcome.report.as_mut().unwrap();
            report.started_at -= Duration::from_secs(days * 86_400);
            outcome
        };
        let newest = ended("a", Success, 0);
        let test = Outcome { cause: Cause::Test, ..ended("t", Failed, 1) };
        let outcomes = [
            newest.clone(), ended("b", Success, 6), ended("c", Failed, 2), ended("d", Success, 3),
            ended("e", Retrying, 1), ended("old", Failed, 8), test,
        ];
        store.record(&outcomes).await.unwrap();
        let stats = store.webhook(&user("u"), hook.id).await.unwrap().stats;
        assert_eq!(stats.success_rate, Some(0.75));
        assert_eq!(stats.last_triggered_at, Some(newest.report.unwrap().started_at));
        let list = store.list_webhooks(&user("u"), &WebhookFilter::default(), FIRST_PAGE).await;
        let list = list.unwrap().items;
        assert_eq!((list[0].webhook.id, list[0].stats), (quiet.id, Default::default()));
        assert_eq!(list[1].stats, stats);
    }

    async fn a_webhook_long_unused_has_no_rate_and_still_its_last_time(database) {
        let hook = webhook(&database.store, "u").await;
        let mut outcome = attempted(&hook, &event("u", "e", "{}"), 1, DeliveryStatus::Success);
        let long_ago = now() - Duration::from_secs(30 * 86_400);
        outcome.report.as_mut().unwrap().started_at = long_ago;
        database.store.record(&[outcome]).await.unwrap();
        let stats = database.store.webhook(&user("u"), hook.id).await.unwrap().stats;
        assert_eq!((stats.success_rate, stats.last_triggered_at), (None, Some(long_ago)));
    }
}
