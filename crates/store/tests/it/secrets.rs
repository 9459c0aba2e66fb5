use std::time::Duration;

use domain::Secret;
use store::StoreError;

use crate::samples::{now, user, webhook};

fn contains(dump: &[u8], text: &str) -> bool {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [text.to_owned(), hex].iter().any(|t| dump.windows(t.len()).any(|part| part == t.as_bytes()))
}

on_both_databases! {
    async fn secrets_and_header_values_stand_nowhere_in_clear(database) {
        let made = webhook(&database.store, "u").await;
        let until = now() + Duration::from_secs(60);
        let second = Secret::new("whsec_second-secret");
        database.store.rotate_secret(&user("u"), made.id, second, until).await.unwrap();
        let dump = database.dump();
        assert!(contains(&dump, "hooks.example.com"), "the dump holds the row");
        for hidden in ["first-secret", "second-secret", "header-secret", "Authorization"] {
            assert!(!contains(&dump, hidden), "{hidden}");
        }
    }

    async fn a_missing_or_wrong_key_is_named(database) {
        let made = webhook(&database.store, "u").await;
        let missing = database.opened_with(&[("k2", 2)]).await;
        let error = missing.find_webhook(made.id).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { what: "secret", .. }), "{error}");
        assert!(error.to_string().contains("\"k1\""), "{error}");
        assert!(error.to_string().contains("secrets.keys"), "{error}");
        let wrong = database.opened_with(&[("k1", 9)]).await;
        let error = wrong.find_webhook(made.id).await.unwrap_err().to_string();
        assert!(error.contains("\"k1\" does not open it"), "{error}");
    }

    async fn a_new_key_seals_and_the_old_one_still_opens(database) {
        let old = webhook(&database.store, "u").await;
        let both = database.opened_with(&[("k2", 2), ("k1", 1)]).await;
        let new = webhook(&both, "u").await;
        for id in [old.id, new.id] {
            let read = both.find_webhook(id).await.unwrap().unwrap();
            assert_eq!(read.secret.expose(), "whsec_first-secret");
        }
        assert!(database.store.find_webhook(new.id).await.is_err(), "it knows only the old key");
    }

    async fn sealed_values_open_only_where_they_were_put(database) {
        let first = webhook(&database.store, "u").await;
        let second = webhook(&database.store, "u").await;
        database.sql("UPDATE webhooks SET secret = headers").await;
        assert!(database.store.find_webhook(first.id).await.is_err(), "another column's");
        let third = webhook(&database.store, "other").await;
        database.sql(
            "UPDATE webhooks SET secret = (SELECT secret FROM webhooks WHERE user_id = 'other')",
        ).await;
        assert!(database.store.find_webhook(second.id).await.is_err(), "another row's");
        assert!(database.store.find_webhook(third.id).await.is_ok());
    }

    async fn sealed_values_of_one_owner_do_not_open_for_another(database) {
        let made = webhook(&database.store, "u").await;
        database.sql("UPDATE webhooks SET user_id = 'thief'").await;
        let error = database.store.find_webhook(made.id).await.unwrap_err().to_string();
        assert!(error.contains("does not open it"), "{error}");
        assert!(database.store.active_webhooks(&user("thief")).await.is_err());
    }
}
