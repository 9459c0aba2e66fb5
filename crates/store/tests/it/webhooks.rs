use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::{DeliveryStatus, EventType, Secret, WebhookId};
use futures::future::join_all;
use store::{PageRequest, StoreError, WebhookChange, WebhookFilter};
use tokio::sync::Barrier;

use crate::samples::{FIRST_PAGE, attempted, event, new_webhook, now, planned, user, webhook};

on_both_databases! {
    async fn a_webhook_is_read_back_as_it_was_made(database) {
        let made = webhook(&database.store, "u").await;
        let read = database.store.webhook(&user("u"), made.id).await.unwrap();
        assert_eq!(format!("{:?}", read.webhook), format!("{made:?}"));
        assert_eq!(read.webhook.secret.expose(), "whsec_first-secret");
        assert_eq!(read.webhook.metadata["team"], "a\0b");
        let new = new_webhook("u");
        assert_eq!(read.webhook.rate_limit, new.rate_limit);
        assert_eq!(read.webhook.filter.as_deref(), new.filter.as_ref().map(domain::Filter::as_str));
        assert_eq!((read.webhook.events, read.webhook.project_ids), (new.events, new.project_ids));
        assert_eq!(read.stats, store::WebhookStats::default());
    }

    async fn a_change_names_some_fields_and_leaves_the_others(database) {
        let made = webhook(&database.store, "u").await;
        let change = WebhookChange {
            name: Some("New".into()),
            active: Some(false),
            description: Some(None),
            filter: Some(None),
            ..WebhookChange::default()
        };
        let changed = database.store.update_webhook(&user("u"), made.id, change).await.unwrap().webhook;
        let read = database.store.webhook(&user("u"), made.id).await.unwrap().webhook;
        assert_eq!(format!("{read:?}"), format!("{changed:?}"));
        assert_eq!((read.name.as_str(), read.active, read.description), ("New", false, None));
        assert_eq!((read.filter, read.rate_limit), (None, made.rate_limit));
        assert_eq!((read.url, read.headers, read.events), (made.url, made.headers, made.events));
        assert_eq!(read.secret.expose(), made.secret.expose());
        assert!(read.updated_at >= made.updated_at);
        assert_eq!(read.request_changed_at, None, "its requests are the same");
        let url = Some("https://example.com/other".to_owned());
        let change = WebhookChange { url, ..WebhookChange::default() };
        let changed = database.store.update_webhook(&user("u"), made.id, change).await.unwrap().webhook;
        assert_eq!(changed.request_changed_at, Some(changed.updated_at));
    }

    async fn changes_of_different_fields_at_once_are_all_kept(database) {
        let made = webhook(&database.store, "u").await;
        let set = |change: WebhookChange| {
            let store = database.store.clone();
            async move { store.update_webhook(&user("u"), made.id, change).await.unwrap().webhook }
        };
        for round in 0..10 {
            let (store, name) = (database.store.clone(), format!("name {round}"));
            let metadata = BTreeMap::from([("round".to_owned(), round.to_string())]);
            let disabled = tokio::spawn(async move {
                store.disable_webhook(made.id, "five days", now()).await.unwrap()
            });
            let named = WebhookChange { name: Some(name.clone()), ..WebhookChange::default() };
            let tagged =
                WebhookChange { metadata: Some(metadata.clone()), ..WebhookChange::default() };
            tokio::join!(set(named), set(tagged));
            assert!(disabled.await.unwrap());
            let read = database.store.find_webhook(made.id).await.unwrap().unwrap();
            assert_eq!((read.name, read.metadata, read.active), (name, metadata, false));
            set(WebhookChange { active: Some(true), ..WebhookChange::default() }).await;
        }
    }

    async fn a_change_that_races_with_a_deletion_is_before_it_or_finds_nothing(database) {
        for round in 0..10 {
            let made = webhook(&database.store, "u").await;
            let racing = |name: Option<String>| {
                let store = database.store.clone();
                tokio::spawn(async move {
                    match name {
                        None => store.delete_webhook(&user("u"), made.id).await,
                        name => {
                            let change = WebhookChange { name, ..WebhookChange::default() };
                            store.update_webhook(&user("u"), made.id, change).await.map(drop)
                        }
                    }
                })
            };
            let changing = racing(Some(format!("round {round}")));
            let (first, second) = (racing(None), racing(None));
            let fine = |r: &Result<(), StoreError>| matches!(r, Ok(()) | Err(StoreError::NotFound));
            let changed = changing.await.unwrap();
            assert!(fine(&changed), "{changed:?}");
            let deleted = [first.await.unwrap(), second.await.unwrap()];
            assert!(deleted.iter().all(fine), "{deleted:?}");
            assert_eq!(deleted.iter().filter(|r| r.is_ok()).count(), 1, "{deleted:?}");
            assert!(database.store.find_webhook(made.id).await.unwrap().is_none());
        }
    }

    async fn the_last_place_under_the_limit_is_given_once(database) {
        let stores = [database.store.clone(), database.opened_with(&[("k1", 1)]).await];
        for owner in ["u1", "u2", "u3", "u4", "u5"] {
            webhook(&database.store, owner).await;
            let start = Arc::new(Barrier::new(20));
            let racing = (0..20).map(|n| {
                let (store, start) = (stores[n % 2].clone(), start.clone());
                tokio::spawn(async move {
                    // Connected before the start, so that they do meet.
                    store.ping().await.unwrap();
                    start.wait().await;
                    store.create_webhook(new_webhook(owner), 3).await
                })
            });
            let results = join_all(racing).await;
            let (made, refused): (Vec<_>, Vec<_>) =
                results.into_iter().map(Result::unwrap).partition(Result::is_ok);
            assert_eq!(made.len(), 2);
            let full = |r: &Result<_, _>| matches!(r, Err(StoreError::LimitReached(3)));
            assert!(refused.iter().all(full), "{refused:?}");
        }
    }

    async fn another_users_webhook_looks_unknown_and_stays_as_it_is(database) {
        let (store, other) = (&database.store, user("other"));
        let made = webhook(store, "u").await;
        let change = WebhookChange { name: Some("taken".into()), ..WebhookChange::default() };
        let stranger = Secret::new("whsec_stranger");
        for result in [
            store.webhook(&other, made.id).await.map(drop),
            store.update_webhook(&other, made.id, change).await.map(drop),
            store.rotate_secret(&other, made.id, stranger, now()).await.map(drop),
            store.delete_webhook(&other, made.id).await,
            store.deliveries(&other, made.id, &Default::default(), FIRST_PAGE).await.map(drop),
            store.webhook(&user("u"), WebhookId::generate()).await.map(drop),
        ] {
            assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
        }
        let listed = store.list_webhooks(&other, &WebhookFilter::default(), FIRST_PAGE).await;
        assert_eq!(listed.unwrap().total, 0);
        assert!(store.active_webhooks(&other).await.unwrap().is_empty());
        let read = store.find_webhook(made.id).await.unwrap().unwrap();
        assert_eq!(format!("{read:?}"), format!("{made:?}"));
        assert_eq!(read.secret.expose(), made.secret.expose());
    }

    async fn a_rotated_secret_keeps_the_one_before_until_the_time_given(database) {
        let made = webhook(&database.store, "u").await;
        let until = now() + Duration::from_secs(3_600);
        let secret = Secret::new("whsec_second-secret");
        let owner = user("u");
        database.store.rotate_secret(&owner, made.id, secret, until).await.unwrap();
        let read = database.store.find_webhook(made.id).await.unwrap().unwrap();
        assert_eq!(read.secret.expose(), "whsec_second-secret");
        let (previous, kept_until) = read.previous_secret.unwrap();
        assert_eq!((previous.expose(), kept_until), ("whsec_first-secret", until));
        let third = Secret::new("whsec_third-secret");
        let read = database.store.rotate_secret(&owner, made.id, third, now()).await.unwrap();
        assert!(read.previous_secret.is_none(), "no grace period was asked for");
    }

    async fn a_webhook_is_told_nothing_until_its_endpoint_proved_itself(database) {
        let (store, owner) = (&database.store, user("u"));
        let new = store::NewWebhook { must_verify: true, ..new_webhook("u") };
        let made = store.create_webhook(new, 0).await.unwrap();
        let told = async || store.active_webhooks(&owner).await.unwrap().len();
        let change = async |change: WebhookChange| {
            store.update_webhook(&owner, made.id, change).await.unwrap().webhook
        };
        assert_eq!((told().await, made.obstacle()), (0, Some(domain::Obstacle::Unverified)));
        let other = Some(Secret::new("whsec_another-one"));
        let asked = change(WebhookChange { secret: other, ..WebhookChange::default() }).await;
        let stale = store.endpoint_proved(&made).await.unwrap();
        assert!(stale.is_none(), "it was asked by another secret");
        let proved = store.endpoint_proved(&asked).await.unwrap().unwrap();
        assert_eq!((proved.obstacle(), told().await), (None, 1));
        assert!(proved.verified_at.is_some());
        let to = |url: &str, must_verify: bool| {
            WebhookChange { url: Some(url.into()), must_verify, ..WebhookChange::default() }
        };
        let same_host = change(to("https://hooks.example.com/other", true)).await;
        assert_eq!((same_host.verified_at, told().await), (proved.verified_at, 1));
        let moved = change(to("https://elsewhere.example/", true)).await;
        assert_eq!((moved.verified_at, told().await), (None, 0));
        let late = store.endpoint_proved(&asked).await.unwrap();
        assert!(late.is_none() && told().await == 0, "it was asked at another host");
        let back = change(to("https://hooks.example.com/x", false)).await;
        assert!(back.pending_since.is_some(), "pending stays, whatever the setting is now");
        assert!(store.endpoint_proved(&back).await.unwrap().is_some());
        change(to("https://elsewhere.example/", false)).await;
        assert_eq!(told().await, 1, "nobody asked for a proof");
    }

    async fn keys_and_marks_are_sealed_and_read_back(database) {
        let (store, owner) = (&database.store, user("u"));
        let values = BTreeMap::from([("X-Tenant".to_owned(), "mark-tenant".to_owned())]);
        let headers = domain::OwnHeaders::stored(values, ["x-tenant".to_owned()].into());
        let signing = domain::SigningScheme::Ed25519;
        let new = store::NewWebhook { headers, signing, ..new_webhook("u") };
        let made = store.create_webhook(new, 0).await.unwrap();
        let second = Secret::new("whsec_second-secret");
        let until = now() + Duration::from_secs(60);
        let rotated = store.rotate_secret(&owner, made.id, second, until).await.unwrap();
        let first_key = made.signing_key.unwrap();
        let second_key = rotated.signing_key.clone().unwrap();
        assert_ne!(second_key.public_key(), first_key.public_key());
        let previous = rotated.previous_signing_key.clone().unwrap();
        assert_eq!(previous.public_key(), first_key.public_key());

        let both = database.opened_with(&[("k2", 2), ("k1", 1)]).await;
        assert_eq!(both.rekey().await.unwrap().webhooks, 1);
        let new = database.opened_with(&[("k2", 2)]).await;
        let read = new.find_webhook(made.id).await.unwrap().unwrap();
        assert_eq!(read.headers, rotated.headers);
        assert!(read.headers.hides("X-TENANT"));
        assert_eq!(read.signing_key.unwrap().expose(), second_key.expose());
        assert_eq!(read.previous_signing_key.unwrap().expose(), first_key.expose());

        let dump = database.dump();
        for key in [&first_key, &second_key] {
            let hex: String = key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
            let raw = key.expose().as_slice();
            assert!(!dump.windows(32).any(|part| part == raw), "a key in clear");
            assert!(!dump.windows(64).any(|part| part == hex.as_bytes()), "a key in clear");
        }
        let hidden = ["x-tenant", "mark-tenant"];
        for text in hidden.map(str::to_owned).into_iter().chain(hidden.map(|text| {
            text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()
        })) {
            assert!(!dump.windows(text.len()).any(|part| part == text.as_bytes()), "{text}");
        }
        for column in ["signing_key", "sensitive_headers"] {
            database.sql(&format!("UPDATE webhooks SET {column} = previous_signing_key")).await;
            assert!(new.find_webhook(made.id).await.is_err(), "{column}: another column's");
        }
    }

    async fn a_disabled_webhook_says_why_until_it_is_switched_on(database) {
        let made = webhook(&database.store, "u").await;
        let at = now();
        assert!(database.store.disable_webhook(made.id, "dead\0", at).await.unwrap());
        assert!(!database.store.disable_webhook(made.id, "again", at).await.unwrap());
        let read = database.store.find_webhook(made.id).await.unwrap().unwrap();
        assert_eq!((read.active, read.disabled_reason.as_deref()), (false, Some("dead")));
        assert_eq!(read.disabled_at, Some(at));
        assert!(database.store.active_webhooks(&user("u")).await.unwrap().is_empty());
        let on = WebhookChange { active: Some(true), ..WebhookChange::default() };
        let read = database.store.update_webhook(&user("u"), made.id, on).await.unwrap().webhook;
        assert_eq!((read.active, read.disabled_reason, read.disabled_at), (true, None, None));
        assert_eq!(database.store.active_webhooks(&user("u")).await.unwrap().len(), 1);
    }

    async fn a_deleted_webhook_is_gone_and_its_unfinished_deliveries_are_cancelled(database) {
        let store = &database.store;
        let (made, kept) = (webhook(store, "u").await, webhook(store, "u").await);
        let [waiting, retrying, done] = ["e1", "e2", "e3"].map(|id| event("u", id, "{}"));
        let outcomes = [
            planned(&made, &waiting),
            attempted(&made, &retrying, 1, DeliveryStatus::Retrying),
            attempted(&made, &done, 1, DeliveryStatus::Success),
            planned(&kept, &waiting),
        ];
        store.record(&outcomes).await.unwrap();

        store.delete_webhook(&user("u"), made.id).await.unwrap();

        let again = store.delete_webhook(&user("u"), made.id).await;
        assert!(matches!(again, Err(StoreError::NotFound)), "{again:?}");
        assert!(store.find_webhook(made.id).await.unwrap().is_none());
        let ids = outcomes.each_ref().map(|outcome| outcome.delivery);
        let progress = store.progress(&ids).await.unwrap();
        let statuses = ids.map(|id| progress[&id].status);
        use DeliveryStatus::{Cancelled, Pending, Success};
        assert_eq!(statuses, [Cancelled, Cancelled, Success, Pending]);
        assert_eq!(progress[&ids[1]].next_attempt_at, None);
        let late = attempted(&made, &retrying, 2, DeliveryStatus::Success);
        store.record(&[late]).await.unwrap();
        assert_eq!(store.progress(&ids).await.unwrap()[&ids[1]].status, Cancelled);
    }

    async fn a_list_is_searched_filtered_and_paged_newest_first(database) {
        let (store, owner) = (&database.store, user("u"));
        let mut made = Vec::new();
        for (name, events, active) in
            [("100% Alpha", "scrape.*", true), ("beta_x", "*", false), ("Gamma", "alert.negative_spike", true)]
        {
            let new = store::NewWebhook {
                name: name.into(), events: vec![events.into()], active, ..new_webhook("u")
            };
            made.push(store.create_webhook(new, 0).await.unwrap().id);
        }
        let list = |filter: WebhookFilter| {
            let owner = owner.clone();
            async move {
                let page = store.list_webhooks(&owner, &filter, FIRST_PAGE).await.unwrap();
                assert_eq!(page.total as usize, page.items.len());
                page.items.into_iter().map(|item| item.webhook.name).collect::<Vec<_>>()
            }
        };
        let search = |text: &str| WebhookFilter { search: Some(text.into()), ..Default::default() };
        assert_eq!(list(WebhookFilter::default()).await, ["Gamma", "beta_x", "100% Alpha"]);
        assert_eq!(list(search("ALPHA")).await, ["100% Alpha"]);
        assert_eq!(list(search("0%")).await, ["100% Alpha"]);
        assert_eq!(list(search("a_x")).await, ["beta_x"]);
        assert_eq!(list(search("hooks.EXAMPLE")).await.len(), 3);
        assert!(list(search("a\0")).await.is_empty());
        let off = WebhookFilter { active: Some(false), ..Default::default() };
        assert_eq!(list(off).await, ["beta_x"]);
        let wanting = |event| WebhookFilter { event: Some(event), ..Default::default() };
        assert_eq!(list(wanting(EventType::ScrapeCompleted)).await, ["beta_x", "100% Alpha"]);
        assert_eq!(list(wanting(EventType::AlertNegativeSpike)).await, ["Gamma", "beta_x"]);
        let page = PageRequest { page: 2, limit: 2 };
        let second = store.list_webhooks(&owner, &Default::default(), page).await.unwrap();
        assert_eq!((second.total, second.items.len()), (3, 1));
        assert_eq!(second.items[0].webhook.id, made[0]);
        let far = PageRequest { page: u64::MAX, limit: u64::MAX };
        assert!(store.list_webhooks(&owner, &Default::default(), far).await.unwrap().items.is_empty());
        let active = store.active_webhooks(&owner).await.unwrap();
        let active: Vec<_> = active.iter().map(|webhook| webhook.id).collect();
        assert_eq!(active, [made[0], made[2]], "oldest first");
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 3);
    }

    async fn a_text_with_nul_is_refused_by_its_field(database) {
        let new = store::NewWebhook { name: "a\0b".into(), ..new_webhook("u") };
        let refused = database.store.create_webhook(new, 0).await;
        assert!(matches!(refused, Err(StoreError::InvalidText("name"))), "{refused:?}");
        let made = webhook(&database.store, "u").await;
        let change =
            WebhookChange { description: Some(Some("\0".into())), ..WebhookChange::default() };
        let refused = database.store.update_webhook(&user("u"), made.id, change).await;
        assert!(matches!(refused, Err(StoreError::InvalidText("description"))), "{refused:?}");
    }

    async fn writes_are_counted_where_one_process_is_alone_with_the_database(database) {
        let store = &database.store;
        let made = webhook(store, "u").await;
        if database.kind == crate::database::Kind::Postgres {
            return assert_eq!(store.writes(), None);
        }
        let mut last = store.writes().unwrap();
        store.webhook(&user("u"), made.id).await.unwrap();
        store.list_webhooks(&user("u"), &WebhookFilter::default(), FIRST_PAGE).await.unwrap();
        assert_eq!(store.writes(), Some(last), "reads are none");
        let mut grown = |what: &str| {
            let now = store.clone().writes().unwrap();
            assert!(now > last, "{what}: {now} after {last}");
            last = now;
        };
        let change = WebhookChange { name: Some("New".into()), ..WebhookChange::default() };
        store.update_webhook(&user("u"), made.id, change).await.unwrap();
        grown("a change");
        let done = attempted(&made, &event("u", "e1", "{}"), 1, DeliveryStatus::Success);
        store.record(&[done]).await.unwrap();
        grown("an outcome");
        store.delete_webhook(&user("u"), made.id).await.unwrap();
        grown("a removal");
    }
}
