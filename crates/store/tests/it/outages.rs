//! PostgreSQL away, frozen and back; SQLite locked by another process.

use std::time::{Duration, Instant};

use bench::servers::{Postgres, PostgresOptions};
use domain::DeliveryStatus;
use sea_orm::ConnectionTrait;
use store::{DatabaseConfig, Store, StoreError};

use crate::database::{Database, Kind, keys};
use crate::samples::{attempted, event, user, webhook};

async fn opened(url: String) -> Store {
    let config = DatabaseConfig { url: url.into(), ..DatabaseConfig::default() };
    Store::open(&config, &keys(&[("k1", 1)])).await.unwrap()
}

fn is_away<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

/// Waits until `store` answers again.
async fn is_back(store: &Store) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = store.ping().await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_outlives_a_database_that_is_away_frozen_and_restarted() {
    let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
    let mut server = Postgres::start("outages", options).unwrap();
    let store = opened(server.fresh_database().unwrap()).await;
    store.migrate().await.unwrap();
    let hook = webhook(&store, "u").await;
    let outcome = attempted(&hook, &event("u", "e", "{}"), 1, DeliveryStatus::Success);

    server.sigstop().unwrap();
    let start = Instant::now();
    let (pinged, recorded) =
        tokio::join!(store.ping(), store.record(std::slice::from_ref(&outcome)));
    assert!(is_away(&pinged) && is_away(&recorded), "{pinged:?} {recorded:?}");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    server.sigcont().unwrap();
    is_back(&store).await;
    store.record(std::slice::from_ref(&outcome)).await.unwrap();

    server.kill9().unwrap();
    let lost = store.active_webhooks(&user("u")).await;
    assert!(is_away(&lost), "{lost:?}");
    let new = opened(server.url("postgres")).await;
    assert!(is_away(&new.check_schema().await), "a store opens while its database is away");
    server.restart().unwrap();
    is_back(&store).await;
    assert_eq!(store.active_webhooks(&user("u")).await.unwrap().len(), 1);
    let stats = store.webhook(&user("u"), hook.id).await.unwrap().stats;
    assert_eq!(stats.success_rate, Some(1.0));
    server.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_a_wrong_setting() {
    let store = opened(Postgres::shared().url("nowhere")).await;
    let error = store.check_schema().await.unwrap_err();
    assert!(matches!(error, StoreError::Config { key: "database.url", .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_sqlite_file_is_away_and_readable() {
    let database = Database::fresh(Kind::Sqlite).await;
    let hook = webhook(&database.store, "u").await;
    let outcome = attempted(&hook, &event("u", "e", "{}"), 1, DeliveryStatus::Success);
    let other = sea_orm::Database::connect(database.config.url.expose()).await.unwrap();
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let recorded = database.store.record(std::slice::from_ref(&outcome)).await;
    assert!(is_away(&recorded), "{recorded:?}");
    assert_eq!(database.store.active_webhooks(&user("u")).await.unwrap().len(), 1);
    other.execute_unprepared("ROLLBACK").await.unwrap();
    database.store.record(&[outcome]).await.unwrap();
}
