//! Opening and closing. On SQLite one connection writes and a few read: writers wait in a queue
//! of ours, which is fair, instead of SQLite's lock, which is not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::{PlacedFile, database_open_to_others, ensure_private_file, ensure_private_folder};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection};

use crate::keyring::Keyring;
use crate::patience::Patient;
use crate::{Act, DatabaseConfig, SecretsConfig, Store, StoreError};

/// How long a connection, a lock and a statement are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that rested this long is tried before it is used: the server may have restarted.
const RESTED: Duration = Duration::from_secs(1);

const EXPECTED: &str = "expected sqlite://PATH or postgres://user:password@host/name";

/// The connection that writes, and the one that reads; on PostgreSQL they are the same.
pub(crate) type Connections = (Patient<DatabaseConnection>, Patient<DatabaseConnection>);

impl Store {
    /// Opens the database. A SQLite file is made where there is none, with its folder; PostgreSQL
    /// is connected to when it is first needed, for it may be away when a service starts.
    ///
    /// # Errors
    /// [`StoreError::Config`] when a setting is wrong or the file cannot be used.
    pub async fn open(
        database: &DatabaseConfig,
        secrets: &SecretsConfig,
    ) -> Result<Self, StoreError> {
        let keyring = Arc::new(Keyring::new(secrets)?);
        let (writer, reader) = connections(database).await?;
        Ok(Self { writer, reader, keyring, act: Arc::new(Act::service()) })
    }

    /// Whether there is a database to open without making one: false for a SQLite file that does
    /// not exist yet.
    #[must_use]
    pub fn is_there(database: &DatabaseConfig) -> bool {
        let path = database.url.expose().strip_prefix("sqlite:");
        path.is_none_or(|path| Path::new(path.strip_prefix("//").unwrap_or(path)).exists())
    }

    /// Whether the database answers, and its file, where it is one, is still in its place.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.writer.check_file()?;
        self.reader.execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// A number that stays the same for as long as nothing was written through this store and its
    /// clones; `None` where others write, too, which is PostgreSQL. Taken before a read, it says
    /// afterwards whether the read would still find the same. A write that was given up half-way
    /// may land later without being counted.
    #[must_use]
    pub fn writes(&self) -> Option<u64> {
        (self.backend() == DatabaseBackend::Sqlite).then(|| self.writer.done())
    }

    /// Closes the connections.
    pub async fn close(self) {
        close((self.writer, self.reader)).await;
    }

    pub(crate) fn backend(&self) -> DatabaseBackend {
        self.writer.get_database_backend()
    }
}

/// Closes them, the one that writes last.
pub(crate) async fn close((writer, reader): Connections) {
    for connection in [reader, writer] {
        if let Err(error) = connection.close().await {
            tracing::warn!("the database was not closed cleanly: {error}");
        }
    }
}

/// The connections of a store, the one that writes first.
pub(crate) async fn connections(database: &DatabaseConfig) -> Result<Connections, StoreError> {
    let url = database.url.expose();
    if let Some(path) = url.strip_prefix("sqlite:") {
        sqlite(path.strip_prefix("//").unwrap_or(path), database.max_connections).await
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // Not the error: it repeats the URL, and with it the password.
        let both = connect(postgres(database)).await.map_err(|_| wrong_url(EXPECTED))?;
        Ok((Patient::new(both.clone()), Patient::new(both)))
    } else {
        Err(wrong_url(EXPECTED))
    }
}

async fn connect(options: ConnectOptions) -> Result<DatabaseConnection, StoreError> {
    Database::connect(options).await.map_err(|e| wrong_url(&e.to_string()))
}

fn postgres(database: &DatabaseConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new(database.url.expose());
    options
        .max_connections(database.max_connections.max(1))
        .connect_lazy(true)
        .acquire_timeout(PATIENCE)
        .statement_timeout(PATIENCE)
        // A ping before each use would double the round trips.
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(RESTED)
        .record_stmt_in_spans(false)
        .sqlx_logging(false);
    options
}

async fn sqlite(path: &str, readers: u32) -> Result<Connections, StoreError> {
    let path = path.strip_suffix("?mode=rwc").unwrap_or(path);
    if path.is_empty() || path.contains(['?', '#', '%']) || path.contains(":memory:") {
        return Err(wrong_url("expected sqlite://PATH, the path of a file without `?`, `#`, `%`"));
    }
    if let Some(folder) = Path::new(path).parent() {
        ensure_private_folder(folder)
            .map_err(|e| wrong_url(&format!("the folder of {path:?} cannot be made: {e}")))?;
    }
    ensure_private_file(path)
        .map_err(|e| wrong_url(&format!("the file {path:?} cannot be made: {e}")))?;
    for wide in database_open_to_others(path) {
        tracing::warn!("{wide}");
    }
    let mut options = ConnectOptions::new(format!("sqlite://{path}"));
    options
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false);
    let mut writing = options.clone();
    writing.max_connections(1).map_sqlx_sqlite_opts(durable);
    let mut reading = options;
    reading
        .max_connections(readers.clamp(1, 4))
        .connect_lazy(true)
        .map_sqlx_sqlite_opts(|sqlite| durable(sqlite).pragma("query_only", "1"));
    // The writer first: it makes the file and switches it to WAL.
    let (writer, reader) = (connect(writing).await?, connect(reading).await?);
    let file = PlacedFile::at(path)
        .map_err(|e| wrong_url(&format!("{path:?} cannot be looked at: {e}")))?;
    Ok((Patient::new(writer).to(file), Patient::new(reader)))
}

fn durable(sqlite: SqliteConnectOptions) -> SqliteConnectOptions {
    sqlite
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        .foreign_keys(false)
        .pragma("wal_autocheckpoint", CHECKPOINT)
        .pragma("journal_size_limit", LOG_SPACE)
        .pragma("cache_size", CACHE)
        // What a statement needs to undo itself, a copy of each page, stays in memory.
        .pragma("temp_store", "memory")
}

/// Pages (of 4 KiB) in the write-ahead log before they are moved to the file: a page that many
/// transactions write is moved once.
const CHECKPOINT: &str = "4000";

/// What is kept of the log's space, in bytes.
const LOG_SPACE: &str = "67108864";

/// Memory for pages of each connection: 16 MiB, as SQLite writes it.
const CACHE: &str = "-16384";

pub(crate) fn wrong_url(message: &str) -> StoreError {
    StoreError::Config { key: "database.url", message: message.to_owned() }
}
