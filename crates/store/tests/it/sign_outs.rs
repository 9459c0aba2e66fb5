use std::time::Duration;

use crate::samples::{now, user};

const HOUR: Duration = Duration::from_secs(3_600);

on_both_databases! {
    async fn a_sign_out_is_kept_with_its_time_and_read_back_in_order(database) {
        let store = &database.store;
        let before = now() - Duration::from_secs(5);
        let first = store.sign_out(&user("ann"), None).await.unwrap();
        let one = store.sign_out(&user("ann"), Some("t1")).await.unwrap();
        let other = store.sign_out(&user("bob"), None).await.unwrap();
        assert!(before < first && first <= one && one <= other);
        let found = store.sign_outs(before).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|row| (row.user.as_str(), row.token_id.as_deref(), row.at))
            .collect();
        assert_eq!(found, [("ann", None, first), ("ann", Some("t1"), one), ("bob", None, other)]);
        let again = store.sign_out(&user("ann"), None).await.unwrap();
        assert!(again >= first);
        let found = store.sign_outs(before).await.unwrap();
        assert_eq!(found.len(), 3, "one of a kind");
        assert_eq!(store.sign_outs(again + HOUR).await.unwrap(), []);
        assert!(store.sign_out(&user("ann"), Some("a\0b")).await.is_err());
    }

    async fn old_sign_outs_are_removed(database) {
        let store = &database.store;
        let at = store.sign_out(&user("ann"), None).await.unwrap();
        store.sign_out(&user("bob"), None).await.unwrap();
        database.sql("UPDATE sign_outs SET at = at - 7200000000 WHERE user_id = 'ann'").await;
        assert!(!store.remove_old_sign_outs(at - HOUR).await.unwrap());
        let found = store.sign_outs(at - 24 * HOUR).await.unwrap();
        assert_eq!(found.iter().map(|row| row.user.as_str()).collect::<Vec<_>>(), ["bob"]);
    }
}
