use futures::future::join_all;
use store::{DatabaseConfig, Store, StoreError};

use crate::database::{Database, Kind, keys};
use crate::samples::webhook;

async fn an_empty_database_is_told_by_name_what_to_run(kind: Kind) {
    let database = Database::empty(kind).await;
    for error in [
        database.store.check_schema().await.unwrap_err(),
        database.store.active_webhooks(&"u".parse().unwrap()).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Config { key: "database.url", .. }), "{error:?}");
        assert!(error.to_string().contains("studio-webhooks migrate"), "{error}");
    }
}

async fn five_migrations_at_once_do_the_work_once(kind: Kind) {
    let database = Database::empty(kind).await;
    let migrating = (0..5).map(|_| {
        let config = database.config.clone();
        tokio::spawn(async move {
            let store = Store::open(&config, &keys(&[("k1", 1)])).await.unwrap();
            store.migrate().await.unwrap()
        })
    });
    let applied: Vec<usize> = join_all(migrating).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(applied.iter().filter(|count| **count > 0).count(), 1, "{applied:?}");
    database.store.check_schema().await.unwrap();
    assert_eq!(database.store.migrate().await.unwrap(), 0);
    webhook(&database.store, "u").await;
}

async fn a_database_of_a_later_release_is_up_to_date(kind: Kind) {
    let database = Database::fresh(kind).await;
    database.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_x', 0)").await;
    database.store.check_schema().await.unwrap();
    assert_eq!(database.store.migrate().await.unwrap(), 0);
}

macro_rules! on_empty_databases {
    ($($promise:ident: $on_sqlite:ident, $on_postgres:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $on_sqlite() {
            $promise(Kind::Sqlite).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $on_postgres() {
            $promise(Kind::Postgres).await;
        }
    )*};
}

on_empty_databases! {
    an_empty_database_is_told_by_name_what_to_run:
        an_empty_sqlite_database_is_told_what_to_run, an_empty_postgres_database_is_told_what_to_run;
    five_migrations_at_once_do_the_work_once:
        five_migrations_of_sqlite_do_the_work_once, five_migrations_of_postgres_do_the_work_once;
    a_database_of_a_later_release_is_up_to_date:
        a_later_sqlite_database_is_up_to_date, a_later_postgres_database_is_up_to_date;
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "this is no database, and long enough to be seen as none".repeat(99))
        .unwrap();
    for url in [
        "mysql://x/y".to_owned(),
        "sqlite://".to_owned(),
        "sqlite::memory:".to_owned(),
        format!("sqlite://{}", file.display()),
        format!("sqlite://{}/below.db", file.display()),
        "postgres://host:notaport/name".to_owned(),
    ] {
        let config = DatabaseConfig { url: url.clone().into(), ..DatabaseConfig::default() };
        let error = Store::open(&config, &keys(&[("k1", 1)])).await.unwrap_err();
        assert!(error.to_string().starts_with("database.url: "), "{url}: {error}");
    }
    let config = DatabaseConfig { url: "sqlite://unused.db".into(), ..DatabaseConfig::default() };
    let error = Store::open(&config, &keys(&[])).await.unwrap_err();
    assert!(error.to_string().starts_with("secrets.keys: "), "{error}");
}
