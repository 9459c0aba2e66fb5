use std::time::Duration;

use uuid::Uuid;

use crate::samples::now;

on_both_databases! {
    async fn marks_count_up_until_they_are_cleared(database) {
        let store = &database.store;
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        for marks in 1..=7 {
            assert_eq!(store.mark_suspect(one).await.unwrap(), marks);
        }
        assert_eq!(store.mark_suspect(other).await.unwrap(), 1);
        store.clear_suspect(one).await.unwrap();
        assert_eq!(store.mark_suspect(one).await.unwrap(), 1);
        assert_eq!(store.mark_suspect(other).await.unwrap(), 2);
    }

    async fn marks_of_messages_that_are_gone_are_forgotten_with_what_is_old(database) {
        let store = &database.store;
        let id = Uuid::now_v7();
        store.mark_suspect(id).await.unwrap();
        store.retention(now() - Duration::from_secs(60)).await.unwrap();
        assert_eq!(store.mark_suspect(id).await.unwrap(), 2, "not old yet");
        store.retention(now() + Duration::from_secs(60)).await.unwrap();
        assert_eq!(store.mark_suspect(id).await.unwrap(), 1);
    }
}
