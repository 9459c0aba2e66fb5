use std::time::Duration;

use futures::future::join_all;

const LONG: Duration = Duration::from_secs(60);

on_both_databases! {
    async fn a_lease_has_one_holder_who_may_renew_it(database) {
        let store = &database.store;
        assert!(store.acquire_lease("sweep", "a", LONG).await.unwrap());
        assert!(!store.acquire_lease("sweep", "b", LONG).await.unwrap());
        assert!(store.acquire_lease("sweep", "a", LONG).await.unwrap());
        assert!(store.acquire_lease("other", "b", LONG).await.unwrap());
    }

    async fn a_lease_that_has_ended_is_free(database) {
        let store = &database.store;
        assert!(store.acquire_lease("sweep", "a", Duration::ZERO).await.unwrap());
        assert!(store.acquire_lease("sweep", "b", LONG).await.unwrap());
        assert!(!store.acquire_lease("sweep", "a", LONG).await.unwrap());
    }

    async fn of_many_who_ask_at_once_one_gets_the_lease(database) {
        let asking = (0..10).map(|n| {
            let store = database.store.clone();
            tokio::spawn(async move {
                store.acquire_lease("sweep", &n.to_string(), LONG).await.unwrap()
            })
        });
        let got = join_all(asking).await.into_iter().filter(|got| *got.as_ref().unwrap()).count();
        assert_eq!(got, 1);
    }
}
