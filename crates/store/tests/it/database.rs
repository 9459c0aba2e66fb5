//! A fresh database for each test, and a test on each kind of database for each promise.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bench::servers::Postgres;
use store::{DatabaseConfig, SecretsConfig, Store};
use tempfile::TempDir;

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A fresh database, brought up to date unless it was asked for empty.
pub(crate) struct Database {
    pub(crate) kind: Kind,
    pub(crate) store: Store,
    pub(crate) config: DatabaseConfig,
    folder: TempDir,
}

impl Database {
    pub(crate) async fn empty(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}", folder.path().join("new/store.db").display()),
            Kind::Postgres => Postgres::shared().fresh_database().unwrap(),
        };
        let config = DatabaseConfig { url: url.into(), ..DatabaseConfig::default() };
        let store = Store::open(&config, &keys(&[("k1", 1)])).await.unwrap();
        Self { kind, store, config, folder }
    }

    pub(crate) async fn fresh(kind: Kind) -> Self {
        let database = Self::empty(kind).await;
        database.store.migrate().await.unwrap();
        database
    }

    /// Another process's view of the same database, with these keys.
    pub(crate) async fn opened_with(&self, keys_: &[(&str, u8)]) -> Store {
        Store::open(&self.config, &keys(keys_)).await.unwrap()
    }

    /// Runs statements outside of the store.
    pub(crate) async fn sql(&self, statements: &str) {
        use sea_orm::ConnectionTrait;
        let connection = sea_orm::Database::connect(self.config.url.expose()).await.unwrap();
        connection.execute_unprepared(statements).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Runs a statement outside of the store; the database's words when it refuses.
    pub(crate) async fn try_sql(&self, statement: &str) -> Result<(), String> {
        use sea_orm::ConnectionTrait;
        let connection = sea_orm::Database::connect(self.config.url.expose()).await.unwrap();
        let done = connection.execute_unprepared(statement).await;
        connection.close().await.unwrap();
        done.map(drop).map_err(|error| error.to_string())
    }

    /// A table with its bytes, to search.
    pub(crate) fn dump_of(&self, table: &str) -> Vec<u8> {
        match self.kind {
            Kind::Sqlite => self.dump(),
            Kind::Postgres => {
                let name = self.config.url.expose().rsplit('/').next().unwrap();
                let sql = format!("SELECT t::text || encode(t.answer, 'escape') FROM {table} t");
                Postgres::shared().sql(name, &sql).unwrap().into_bytes()
            }
        }
    }

    /// Everything that is stored, as bytes to search.
    pub(crate) fn dump(&self) -> Vec<u8> {
        match self.kind {
            Kind::Sqlite => {
                let files = std::fs::read_dir(self.folder.path().join("new")).unwrap();
                files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Kind::Postgres => {
                let name = self.config.url.expose().rsplit('/').next().unwrap();
                let columns = "encode(headers, 'escape') || encode(secret, 'escape') \
                     || coalesce(encode(previous_secret, 'escape'), '')";
                let sql = format!("SELECT w::text || {columns} FROM webhooks w");
                Postgres::shared().sql(name, &sql).unwrap().into_bytes()
            }
        }
    }
}

/// Keys of which every byte is the number given.
pub(crate) fn keys(keys: &[(&str, u8)]) -> SecretsConfig {
    let keys =
        keys.iter().map(|(id, byte)| format!("{id}:{}", STANDARD.encode([*byte; 32])).into());
    SecretsConfig { keys: keys.collect(), ..SecretsConfig::default() }
}

/// Makes each promise a module with a test for each kind of database.
macro_rules! on_both_databases {
    ($(async fn $promise:ident($database:pat_param) $body:block)*) => {$(
        mod $promise {
            #[allow(unused_imports, reason = "not every promise needs them all")]
            use super::*;
            use crate::database::{Database, Kind};

            async fn promise($database: Database) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                promise(Database::fresh(Kind::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                promise(Database::fresh(Kind::Postgres).await).await;
            }
        }
    )*};
}
