use std::time::Duration;

use futures::future::join_all;
use store::{Claimed, KEY_BYTES, KeptKeys, KeyedRequest};

use crate::samples::user;

const LONG: Duration = Duration::from_secs(60);

fn seed(claimed: Claimed) -> uuid::Uuid {
    match claimed {
        Claimed::New(seed) => seed,
        other => panic!("{other:?}"),
    }
}

on_both_databases! {
    async fn of_many_who_claim_a_key_at_once_one_gets_it(database) {
        let asking = (0..20).map(|_| {
            let store = database.store.clone();
            tokio::spawn(async move {
                let user = user("u");
                let request = KeyedRequest { user: &user, key: "k", fingerprint: b"f" };
                store.claim_key(request, LONG).await.unwrap()
            })
        });
        let got: Vec<Claimed> = join_all(asking).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(got.iter().filter(|claimed| matches!(claimed, Claimed::New(_))).count(), 1);
        assert_eq!(got.iter().filter(|claimed| **claimed == Claimed::UnderWay).count(), 19);
    }

    async fn a_claim_that_has_ended_goes_on_with_its_seed(database) {
        let (store, user) = (&database.store, user("u"));
        let request = KeyedRequest { user: &user, key: "k", fingerprint: b"f" };
        let first = seed(store.claim_key(request, Duration::ZERO).await.unwrap());
        let other = KeyedRequest { fingerprint: b"g", ..request };
        assert_eq!(store.claim_key(other, LONG).await.unwrap(), Claimed::Taken);
        assert_eq!(seed(store.claim_key(request, LONG).await.unwrap()), first);
        store.release_key(request, first, false).await.unwrap();
        assert_eq!(seed(store.claim_key(request, LONG).await.unwrap()), first);
        store.release_key(request, first, true).await.unwrap();
        assert_ne!(seed(store.claim_key(other, LONG).await.unwrap()), first);
    }

    async fn the_first_answer_stands_and_is_stored_sealed(database) {
        let (store, user) = (&database.store, user("u"));
        let request = KeyedRequest { user: &user, key: "k", fingerprint: b"f" };
        let claimed = seed(store.claim_key(request, LONG).await.unwrap());
        store.answer_key(request, claimed, 201, b"whsec_the-answer").await.unwrap();
        store.answer_key(request, claimed, 200, b"another").await.unwrap();
        store.release_key(request, claimed, true).await.unwrap();
        let answered = Claimed::Answered { status: 201, body: b"whsec_the-answer".to_vec() };
        assert_eq!(store.claim_key(request, LONG).await.unwrap(), answered);
        let dump = database.dump_of("idempotency_keys");
        let contains = |text: &str| dump.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!contains("the-answer") && !contains("7468652d616e73776572"));
        let wrong = database.opened_with(&[("k2", 2)]).await;
        let error = wrong.claim_key(request, LONG).await.unwrap_err().to_string();
        assert!(error.contains("\"k1\"") && error.contains("secrets.keys"), "{error}");
    }

    async fn old_keys_and_surplus_ones_are_removed(database) {
        let (store, user) = (&database.store, user("u"));
        for n in 0..12 {
            let key = format!("k{n:02}");
            let request = KeyedRequest { user: &user, key: &key, fingerprint: b"f" };
            store.claim_key(request, LONG).await.unwrap();
        }
        database.sql("UPDATE idempotency_keys SET created_at = created_at - 90000000000 WHERE key < 'k02'").await;
        assert!(!store.remove_old_keys().await.unwrap(), "no more than a few");
        let ten = store.kept_keys(&user).await.unwrap();
        assert_eq!((ten.keys, ten.bytes), (10, 10 * (KEY_BYTES + 3)));
        let four = KeptKeys { keys: 4, bytes: u64::MAX };
        let under_way = store.forget_surplus_keys(&user, four).await.unwrap();
        assert_eq!(under_way, (KeptKeys::default(), false), "somebody works on them");
        database.sql("UPDATE idempotency_keys SET locked_until = 0 WHERE key < 'k08'").await;
        let (forgotten, more) = store.forget_surplus_keys(&user, four).await.unwrap();
        assert_eq!((forgotten.keys, more), (6, false));
        for (key, kept) in [("k01", false), ("k07", false), ("k08", true), ("k11", true)] {
            let request = KeyedRequest { user: &user, key, fingerprint: b"f" };
            let claimed = store.claim_key(request, LONG).await.unwrap();
            assert_eq!(claimed == Claimed::UnderWay, kept, "{key}: {claimed:?}");
        }
    }

    async fn an_answer_opens_only_for_its_user_its_key_and_its_request(database) {
        let (store, owner, thief) = (&database.store, user("owner"), user("thief"));
        for sql in [
            "UPDATE idempotency_keys SET user_id = 'thief'",
            "UPDATE idempotency_keys SET key = 'other'",
            "UPDATE idempotency_keys SET fingerprint = (SELECT fingerprint FROM idempotency_keys k WHERE k.user_id = 'aide')",
        ] {
            database.sql("DELETE FROM idempotency_keys").await;
            let request = KeyedRequest { user: &owner, key: "k", fingerprint: b"f" };
            let claimed = seed(store.claim_key(request, LONG).await.unwrap());
            store.answer_key(request, claimed, 201, b"whsec_the-answer").await.unwrap();
            let aide = KeyedRequest { user: &user("aide"), key: "k", fingerprint: b"g" };
            if sql.contains("aide") {
                store.claim_key(aide, LONG).await.unwrap();
            }
            database.sql(sql).await;
            for moved in [
                KeyedRequest { user: &thief, ..request },
                KeyedRequest { key: "other", ..request },
                KeyedRequest { fingerprint: b"g", ..request },
            ] {
                if let Ok(Claimed::Answered { body, .. }) = store.claim_key(moved, LONG).await {
                    panic!("{sql}: {moved:?} got {body:?}");
                }
            }
        }
    }

    async fn of_a_users_answers_the_oldest_are_forgotten_where_they_are_too_many_bytes(database) {
        let (store, other, user) = (&database.store, user("v"), user("u"));
        let answer = vec![7; 100 * 1024];
        for n in 0..50 {
            for owner in [&user, &other] {
                let key = format!("k{n:02}");
                let request = KeyedRequest { user: owner, key: &key, fingerprint: b"f" };
                let claimed = seed(store.claim_key(request, LONG).await.unwrap());
                store.answer_key(request, claimed, 201, &answer).await.unwrap();
            }
        }
        let before = store.kept_keys(&user).await.unwrap();
        assert!(before.bytes > 50 * 100 * 1024 && before.bytes < 51 * 101 * 1024, "{before:?}");
        let most = KeptKeys { keys: u64::MAX, bytes: 1024 * 1024 };
        let (forgotten, more) = store.forget_surplus_keys(&user, most).await.unwrap();
        let after = store.kept_keys(&user).await.unwrap();
        assert!(!more && after.bytes <= most.bytes && after.keys == 10, "{after:?}");
        assert_eq!(before - forgotten, after);
        assert_eq!(store.kept_keys(&other).await.unwrap().keys, 50, "another user's stay");
        let newest = KeyedRequest { user: &user, key: "k49", fingerprint: b"f" };
        let kept = store.claim_key(newest, LONG).await.unwrap();
        assert!(matches!(kept, Claimed::Answered { .. }), "{kept:?}");
    }
}
