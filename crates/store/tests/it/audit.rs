use std::net::IpAddr;
use std::time::Duration;

use domain::{JobId, Secret};
use store::{
    Act, Action, AuditFilter, AuditRow, Deed, JobKind, JobScope, NewJob, ObjectKind, PageRequest,
    Store, Via, WebhookChange,
};

use crate::samples::{FIRST_PAGE, new_webhook, now, user, webhook};

/// What must stand in no row.
const MARK: &str = "marked-value";

fn ann() -> Act {
    Act {
        actor: "ann".into(),
        via: Via::Api,
        token_id: Some("token-1".into()),
        address: Some(IpAddr::from([203, 0, 113, 7])),
        request_id: Some("req-1".into()),
    }
}

async fn rows(store: &Store, filter: AuditFilter) -> Vec<AuditRow> {
    store.audit(&filter, FIRST_PAGE).await.unwrap().items
}

async fn of(store: &Store, name: &str) -> Vec<AuditRow> {
    rows(store, AuditFilter { user: Some(user(name)), ..AuditFilter::default() }).await
}

fn actions(rows: &[AuditRow]) -> Vec<&str> {
    rows.iter().map(|row| row.action.as_str()).collect()
}

on_both_databases! {
    async fn every_change_of_a_webhook_has_its_row_with_names_and_no_values(database) {
        let store = database.store.acting(ann());
        let hook = webhook(&store, "u").await;
        let given = domain::GivenHeader { value: Some(MARK.to_owned()), sensitive: None };
        let change = WebhookChange {
            url: Some(format!("https://{MARK}.example/?token={MARK}")),
            headers: Some([("Authorization".to_owned(), given)].into()),
            description: Some(hook.description.clone()),
            secret: Some(Secret::new(format!("whsec_{MARK}"))),
            ..WebhookChange::default()
        };
        store.update_webhook(&hook.user, hook.id, change).await.unwrap();
        let secret = Secret::new(format!("whsec_{MARK}-2"));
        store.rotate_secret(&hook.user, hook.id, secret, now() + Duration::from_secs(60)).await.unwrap();
        let job = JobId::generate();
        let new = NewJob {
            id: job,
            user: hook.user.clone(),
            webhook: hook.id,
            kind: JobKind::Replay,
            scope: JobScope::default(),
            since: now() - Duration::from_secs(60),
            until: now(),
        };
        store.create_job(new, 10).await.unwrap().unwrap();
        store.cancel_job(&hook.user, hook.id, job, "x").await.unwrap();
        store.delete_webhook(&hook.user, hook.id).await.unwrap();
        let found = of(&database.store, "u").await;
        let expected = ["webhook.delete", "job.cancel", "job.replay", "webhook.rotate_secret",
            "webhook.update", "webhook.create"];
        assert_eq!(actions(&found), expected);
        assert_eq!(found[4].fields, ["url", "headers", "secret"], "and no description: it is the same");
        for row in &found {
            assert_eq!((row.actor.as_str(), row.via), ("ann", Via::Api));
            assert_eq!(row.address, ann().address);
            assert_eq!((&row.token_id, &row.request_id), (&ann().token_id, &ann().request_id));
            assert!(row.at <= now() && row.at > now() - Duration::from_secs(60));
            let on = if row.object_kind == "job" { job.to_string() } else { hook.id.to_string() };
            assert_eq!(row.object_id, on);
        }
        assert!(!format!("{found:?}").contains(MARK));
    }

    async fn what_changes_nothing_has_no_row(database) {
        let store = database.store.acting(ann());
        let hook = webhook(&store, "u").await;
        let stranger = user("v");
        assert!(store.update_webhook(&stranger, hook.id, WebhookChange::default()).await.is_err());
        assert!(store.delete_webhook(&stranger, hook.id).await.is_err());
        assert!(store.create_webhook(new_webhook("u"), 1).await.is_err());
        assert_eq!(actions(&of(&store, "u").await), ["webhook.create"]);
        assert!(of(&store, "v").await.is_empty());
    }

    async fn what_a_service_does_by_itself_is_noted_as_its_own(database) {
        let store = &database.store;
        let hook = webhook(&store.acting(ann()), "u").await;
        store.disable_webhook(hook.id, "dead", now()).await.unwrap();
        let found = of(store, "u").await;
        assert_eq!((found[0].action.as_str(), found[0].via), ("webhook.switch_off", Via::Service));
    }

    async fn a_user_is_shown_what_was_done_to_them_and_by_them_and_no_more(database) {
        let store = database.store.acting(ann());
        let (theirs, _) = (webhook(&store, "ann").await, webhook(&store, "bob").await);
        webhook(&database.store, "cid").await;
        assert_eq!(of(&store, "ann").await.len(), 2, "their own, and what they did for bob");
        assert_eq!(of(&store, "bob").await.len(), 1);
        let by = |actor: &str| AuditFilter { actor: Some(actor.into()), ..AuditFilter::default() };
        assert_eq!(rows(&store, by("ann")).await.len(), 2);
        // A command and a service that go by the name of a user are not that user.
        database.store.acting(Act { via: Via::Command, ..ann() })
            .note(&Deed::of(Action::SecretsRekey, ObjectKind::Installation, "secrets"))
            .await.unwrap();
        assert_eq!(of(&store, "ann").await.len(), 2);
        let object = AuditFilter { object: Some(theirs.id.to_string()), ..AuditFilter::default() };
        assert_eq!(actions(&rows(&store, object).await), ["webhook.create"]);
        let nul = AuditFilter { object: Some("a\0".into()), ..AuditFilter::default() };
        assert!(rows(&store, nul).await.is_empty());
    }

    async fn the_trail_is_paged_and_filtered(database) {
        let store = database.store.acting(ann());
        let began = now();
        // Of another millisecond than what follows.
        tokio::time::sleep(Duration::from_millis(3)).await;
        for number in 0..7 {
            webhook(&store, if number % 2 == 0 { "ann" } else { "bob" }).await;
        }
        let filter = AuditFilter { user: Some(user("ann")), ..AuditFilter::default() };
        let (mut seen, mut next) = (Vec::new(), filter.clone());
        loop {
            let page = store.audit(&next, PageRequest { page: 1, limit: 3 }).await.unwrap();
            seen.extend(page.items.iter().map(|row| row.id));
            assert_eq!((page.total, page.total_capped), (7, false));
            next.after = seen.last().copied();
            if !page.more {
                break;
            }
        }
        assert_eq!(seen.len(), 7);
        assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "the newest first, each once");
        let second = store.audit(&filter, PageRequest { page: 2, limit: 3 }).await.unwrap();
        assert_eq!(second.items.iter().map(|row| row.id).collect::<Vec<_>>(), seen[3..6]);
        let since = AuditFilter { since: Some(began), ..filter.clone() };
        let until = AuditFilter { until: Some(began), ..filter.clone() };
        assert_eq!((rows(&store, since).await.len(), rows(&store, until).await.len()), (7, 0));
        let action = AuditFilter { action: Some(Action::WebhookDelete), ..filter };
        assert!(rows(&store, action).await.is_empty());
    }

    async fn nobody_changes_the_trail_or_takes_of_it_but_for_its_age(database) {
        let store = &database.store;
        webhook(store, "u").await;
        for statement in [
            "DELETE FROM audit",
            "UPDATE audit SET actor = 'somebody else'",
            "UPDATE audit SET actor = 'an erased user', token_id = NULL, address = NULL, \
             request_id = NULL",
        ] {
            let refused = database.try_sql(statement).await.unwrap_err();
            assert!(refused.contains("only added to"), "{refused}");
        }
        let kept = of(store, "u").await;
        assert_eq!(store.remove_old_audit(now() - Duration::from_secs(3_600)).await.unwrap(), 0);
        assert_eq!(of(store, "u").await, kept);
        assert!(store.remove_old_audit(now() + Duration::from_secs(1)).await.unwrap() >= 1);
        assert!(of(store, "u").await.is_empty());
        // The gate is closed again.
        webhook(store, "u").await;
        assert!(database.try_sql("DELETE FROM audit").await.is_err());
    }

    async fn old_rows_are_removed_a_few_at_a_time(database) {
        let store = &database.store;
        let deed = Deed::of(Action::SecretsList, ObjectKind::Installation, "secrets");
        for _ in 0..510 {
            store.note(&deed).await.unwrap();
        }
        let mut steps = Vec::new();
        loop {
            match store.remove_old_audit(now() + Duration::from_secs(1)).await.unwrap() {
                0 => break,
                count => steps.push(count),
            }
        }
        // The migration has a row as well.
        assert_eq!(steps, [500, 11]);
    }

    async fn of_an_erased_user_the_trail_says_that_they_were_erased_and_no_more(database) {
        let store = database.store.acting(ann());
        webhook(&store, "ann").await;
        webhook(&store, "bob").await;
        let operator = database.store.acting(Act::command(1_000));
        let erased = operator.erase_user(&user("ann")).await.unwrap();
        // Made, deleted, and what ann did for bob.
        assert_eq!(erased.audit, 3);
        let found = of(&operator, "ann").await;
        assert_eq!(actions(&found), ["user.erase"]);
        assert_eq!(found[0].actor, "operator:1000");
        let bobs = of(&operator, "bob").await;
        assert_eq!(actions(&bobs), ["webhook.create"]);
        assert_eq!(bobs[0].actor, "an erased user");
        assert_eq!((&bobs[0].token_id, bobs[0].address), (&None, None));
        assert_eq!(bobs[0].request_id, None, "it may be a text of theirs");
        assert_eq!(operator.erase_user(&user("ann")).await.unwrap(), store::Erased::default());
        assert_eq!(of(&operator, "ann").await.len(), 2, "it was asked for twice");
    }

    async fn a_user_whose_name_is_erased_is_like_any_other(database) {
        let store = database.store.acting(ann());
        webhook(&store, "bob").await;
        let operator = database.store.acting(Act::command(1_000));
        operator.erase_user(&user("ann")).await.unwrap();
        assert!(of(&operator, "erased").await.is_empty(), "what ann did is nobody else's");
        let name = user("erased");
        let ended = tokio::time::timeout(Duration::from_secs(10), operator.erase_user(&name));
        assert!(ended.await.is_ok(), "it goes on for ever");
    }

    async fn a_change_that_cannot_be_noted_is_not_made(database) {
        let hook = webhook(&database.store, "u").await;
        database.sql("ALTER TABLE audit RENAME TO audit_gone").await;
        let store = database.opened_with(&[("k1", 1)]).await;
        assert!(store.create_webhook(new_webhook("u"), 0).await.is_err());
        let change = WebhookChange { name: Some("other".into()), ..WebhookChange::default() };
        assert!(store.update_webhook(&hook.user, hook.id, change).await.is_err());
        assert!(store.delete_webhook(&hook.user, hook.id).await.is_err());
        let kept = store.webhook(&hook.user, hook.id).await.unwrap().webhook;
        assert_eq!(kept.name, hook.name);
        assert_eq!(store.active_webhooks(&hook.user).await.unwrap().len(), 1);
    }
}
