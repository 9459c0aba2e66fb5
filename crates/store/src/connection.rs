//! Opening, checking and closing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, Statement,
    TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

use crate::keyring::Keyring;
use crate::migration::Migrator;
use crate::{DatabaseConfig, SecretsConfig, Store, StoreError};

/// How long a connection, and a statement, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The advisory lock that a migration holds on PostgreSQL: `studio` in ASCII.
const MIGRATION_LOCK: i64 = 0x73_74_75_64_69_6f;

impl Store {
    /// Opens the database. A SQLite file is made where there is none; PostgreSQL is connected to
    /// when it is first needed, for it may be away when a service starts.
    ///
    /// # Errors
    /// [`StoreError::Config`] when a setting is wrong, or the file cannot be used.
    pub async fn open(
        database: &DatabaseConfig,
        secrets: &SecretsConfig,
    ) -> Result<Self, StoreError> {
        let keyring = Arc::new(Keyring::new(secrets)?);
        let options = options(database)?;
        let db = Database::connect(options).await.map_err(|e| wrong_url(&e.to_string()))?;
        Ok(Self { db, keyring })
    }

    /// Brings the database up to date; gives back how many migrations were applied. Several at
    /// once are fine: one does the work.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn migrate(&self) -> Result<usize, StoreError> {
        let pending = Migrator::get_pending_migrations(&self.db).await?.len();
        if pending == 0 {
            return Ok(0);
        }
        if self.backend() != DatabaseBackend::Postgres {
            Migrator::up(&self.db, None).await?;
            return Ok(pending);
        }
        // The lock lives as long as its transaction, whatever becomes of this process.
        let lock = self.db.begin().await?;
        let statement = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            "SELECT pg_advisory_xact_lock($1)",
            [MIGRATION_LOCK.into()],
        );
        lock.execute_raw(statement).await?;
        let pending = Migrator::get_pending_migrations(&self.db).await?.len();
        Migrator::up(&self.db, None).await?;
        lock.commit().await?;
        Ok(pending)
    }

    /// Whether the database is up to date.
    ///
    /// # Errors
    /// [`StoreError::Config`] when it is not, with the command that helps;
    /// [`StoreError::Unavailable`] while it is away.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        self.ping().await?;
        let pending = Migrator::get_pending_migrations(&self.db).await?.len();
        if pending == 0 {
            return Ok(());
        }
        let message =
            format!("the database lacks {pending} migration(s); run `studio-webhooks migrate`");
        Err(StoreError::Config { key: "database.url", message })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.db.execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// Closes the connections.
    pub async fn close(self) {
        if let Err(error) = self.db.close().await {
            tracing::warn!("the database was not closed cleanly: {error}");
        }
    }

    pub(crate) fn backend(&self) -> DatabaseBackend {
        self.db.get_database_backend()
    }

    /// A transaction that writes. SQLite takes its one write lock at the start, so that two
    /// that read first cannot both want to write.
    pub(crate) async fn begin(&self) -> Result<sea_orm::DatabaseTransaction, StoreError> {
        Ok(self.db.begin().await?)
    }

    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.db
    }
}

fn options(database: &DatabaseConfig) -> Result<ConnectOptions, StoreError> {
    let url = database.url.as_str();
    if let Some(path) = url.strip_prefix("sqlite:") {
        return sqlite(path.trim_start_matches("//"));
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong_url("expected sqlite://PATH or postgres://user:password@host/name"));
    }
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(database.max_connections.max(2))
        .connect_lazy(true)
        .acquire_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
        .statement_timeout(PATIENCE)
        // A ping before each use would double the round trips; a broken connection shows itself.
        .test_before_acquire(false)
        .sqlx_logging(false);
    Ok(options)
}

fn sqlite(path: &str) -> Result<ConnectOptions, StoreError> {
    if path.is_empty() || path.contains(":memory:") {
        return Err(wrong_url("expected sqlite://PATH with the path of a file"));
    }
    if let Some(folder) = Path::new(path).parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| wrong_url(&format!("the folder of {path:?} cannot be made: {e}")))?;
    }
    let mut options = ConnectOptions::new(format!("sqlite://{path}?mode=rwc"));
    options
        .max_connections(4)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sea_orm::sqlx::sqlite::SqliteSynchronous::Full)
                .busy_timeout(PATIENCE)
                .foreign_keys(false)
        });
    Ok(options)
}

fn wrong_url(message: &str) -> StoreError {
    StoreError::Config { key: "database.url", message: message.to_owned() }
}
