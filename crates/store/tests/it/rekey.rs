use std::time::Duration;

use domain::Secret;
use store::{Claimed, KeyedRequest, Rekeyed, Sealed, Store, WebhookChange};

use crate::database::keys;
use crate::samples::{now, user, webhook};

const LONG: Duration = Duration::from_secs(60);

on_both_databases! {
    async fn after_a_rekey_the_old_key_is_needed_no_more(database) {
        let (store, user) = (&database.store, user("u"));
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(webhook(store, "u").await.id);
        }
        let second = Secret::new("whsec_second-secret");
        store.rotate_secret(&user, ids[0], second, now() + LONG).await.unwrap();
        let request = KeyedRequest { user: &user, key: "k", fingerprint: b"f" };
        let Claimed::New(seed) = store.claim_key(request, LONG).await.unwrap() else { panic!() };
        store.answer_key(request, seed, 201, b"answer").await.unwrap();

        let both = database.opened_with(&[("k2", 2), ("k1", 1)]).await;
        let sealed = both.sealed_by_key().await.unwrap();
        assert_eq!(sealed["k1"], Sealed { webhook_values: 11, answers: 1, unbound: 0 });
        assert_eq!(sealed["k2"], Sealed::default());
        let all = Rekeyed { webhooks: 5, answers: 1, unopened: None };
        assert_eq!(both.rekey().await.unwrap(), all);
        assert_eq!(both.rekey().await.unwrap(), Rekeyed::default(), "nothing is left to do");
        let sealed = both.sealed_by_key().await.unwrap();
        assert_eq!(sealed["k1"], Sealed::default());
        assert_eq!(sealed["k2"], Sealed { webhook_values: 11, answers: 1, unbound: 0 });

        let new = database.opened_with(&[("k2", 2)]).await;
        let first = new.find_webhook(ids[0]).await.unwrap().unwrap();
        assert_eq!(first.secret.expose(), "whsec_second-secret");
        assert_eq!(first.previous_secret.unwrap().0.expose(), "whsec_first-secret");
        let last = new.find_webhook(ids[4]).await.unwrap().unwrap();
        assert_eq!(last.headers.values()["Authorization"], "Bearer header-secret");
        let answered = Claimed::Answered { status: 201, body: b"answer".to_vec() };
        assert_eq!(new.claim_key(request, LONG).await.unwrap(), answered);
    }

    async fn what_no_key_opens_is_told_and_keeps_nobody_from_the_rest(database) {
        webhook(&database.store, "u").await;
        let other = database.opened_with(&[("k9", 9)]).await;
        let id = webhook(&other, "u").await.id;
        let without = database.opened_with(&[("k2", 2), ("k9", 9)]).await;
        let done = without.rekey().await.unwrap();
        assert_eq!(done.webhooks, 1);
        let (count, reason) = done.unopened.unwrap();
        assert_eq!(count, 1);
        assert!(reason.contains("\"k1\"") && reason.contains("secrets.keys"), "{reason}");
        assert!(without.find_webhook(id).await.unwrap().is_some());
    }

    async fn a_rekey_beside_running_services_loses_no_change(database) {
        let user = user("u");
        // A service that knows the new key and was started when it was not the first.
        let service = database.opened_with(&[("k2", 2), ("k3", 3), ("k1", 1)]).await;
        let id = webhook(&database.store, "u").await.id;
        let changing = {
            let (store, user) = (service.clone(), user.clone());
            tokio::spawn(async move {
                for n in 0..50 {
                    let secret = Some(Secret::new(format!("whsec_change-{n:02}")));
                    let change = WebhookChange { secret, ..WebhookChange::default() };
                    store.update_webhook(&user, id, change).await.unwrap();
                }
            })
        };
        let third = database.opened_with(&[("k3", 3), ("k2", 2), ("k1", 1)]).await;
        while !changing.is_finished() {
            third.rekey().await.unwrap();
        }
        changing.await.unwrap();
        third.rekey().await.unwrap();
        let new = database.opened_with(&[("k3", 3)]).await;
        let read = new.find_webhook(id).await.unwrap().unwrap();
        assert_eq!(read.secret.expose(), "whsec_change-49");
    }

    async fn what_an_earlier_release_sealed_opens_and_is_bound_to_its_owner_by_a_rekey(database) {
        let (store, user) = (&database.store, user("u"));
        let made = webhook(store, "u").await.id;
        // As sealed before: key k1, the nonce all 7, bound to the row and the column alone.
        let id = "0198c6a1-b2c3-7d4e-8f90-a1b2c3d4e5f6";
        let secret = "026b31070707070707070707070707fa9b99c16cf1c2c478f661548ba202acc8dbe48b3e834cf4adcefcb28677fd54e94211";
        let headers = "026b31070707070707070707070707f6d1abd17bc6ded370e06544cfaf09e89d8bc3bc05196a2b2b5156dc8a7136802e4ca4edb3b89b906b6b276d1f7710f45dfcc27307c31ce9";
        let plain = id.replace('-', "");
        let (blob, row): (fn(&str) -> String, String) = match database.kind {
            Kind::Sqlite => (|hex| format!("X'{hex}'"), format!("X'{plain}'")),
            Kind::Postgres => (|hex| format!("'\\x{hex}'::bytea"), format!("'{id}'")),
        };
        let sql = format!(
            "UPDATE webhooks SET id = {row}, secret = {}, headers = {}",
            blob(secret), blob(headers)
        );
        database.sql(&sql).await;
        let id = format!("wh_{plain}").parse().unwrap();
        assert_ne!(id, made);
        let read = async || store.find_webhook(id).await;
        assert_eq!(read().await.unwrap().unwrap().secret.expose(), "whsec_sealed-before");
        assert_eq!(store.sealed_by_key().await.unwrap()["k1"].unbound, 2);
        // Until then it opens for whoever the row is said to be of; after that for nobody else.
        database.sql("UPDATE webhooks SET user_id = 'thief'").await;
        assert!(read().await.is_ok(), "which is why there is a rekey");
        let mut strict = keys(&[("k1", 1)]);
        strict.only_bound = true;
        let strict = Store::open(&database.config, &strict).await.unwrap();
        assert!(strict.find_webhook(id).await.is_err(), "or a setting");
        database.sql("UPDATE webhooks SET user_id = 'u'").await;
        assert_eq!(store.rekey().await.unwrap().webhooks, 1);
        assert_eq!(store.sealed_by_key().await.unwrap()["k1"].unbound, 0);
        let kept = strict.find_webhook(id).await.unwrap().unwrap();
        assert_eq!((kept.secret.expose(), kept.user), ("whsec_sealed-before", user));
        assert_eq!(kept.headers.values()["Authorization"], "Bearer sealed-before");
        database.sql("UPDATE webhooks SET user_id = 'thief'").await;
        assert!(read().await.is_err());
    }

    async fn an_answer_that_an_earlier_release_sealed_is_as_if_it_had_not_been_kept(database) {
        let (store, user) = (&database.store, user("u"));
        let request = KeyedRequest { user: &user, key: "k", fingerprint: b"f" };
        let Claimed::New(seed) = store.claim_key(request, LONG).await.unwrap() else { panic!() };
        let before = "UPDATE idempotency_keys SET status = 201, answer = ";
        let answer = match database.kind {
            Kind::Sqlite => "X'026b3100'",
            Kind::Postgres => "'\\x026b3100'::bytea",
        };
        database.sql(&format!("{before}{answer}")).await;
        // The same request is made again, with the same ids.
        assert_eq!(store.claim_key(request, LONG).await.unwrap(), Claimed::New(seed));
        database.sql(&format!("{before}{answer}")).await;
        assert_eq!(store.rekey().await.unwrap(), Rekeyed::default());
        assert_eq!(store.sealed_by_key().await.unwrap()["k1"].answers, 0);
    }
}
