use std::time::Duration;

use domain::Secret;
use store::{Claimed, KeyedRequest, Rekeyed, Sealed, WebhookChange};

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
        assert_eq!(sealed["k1"], Sealed { webhook_values: 11, answers: 1 });
        assert_eq!(sealed["k2"], Sealed::default());
        let all = Rekeyed { webhooks: 5, answers: 1, unopened: None };
        assert_eq!(both.rekey().await.unwrap(), all);
        assert_eq!(both.rekey().await.unwrap(), Rekeyed::default(), "nothing is left to do");
        let sealed = both.sealed_by_key().await.unwrap();
        assert_eq!(sealed["k1"], Sealed::default());
        assert_eq!(sealed["k2"], Sealed { webhook_values: 11, answers: 1 });

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
}
