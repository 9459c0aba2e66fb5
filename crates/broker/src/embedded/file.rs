//! The file: opened by one process at a time, made where there is none, never made anew where
//! there is one.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::{
    Misplaced, PlacedFile, database_open_to_others, ensure_private_file, ensure_private_folder,
};
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sea_orm::sqlx::{self, ConnectOptions, Row, SqliteConnection};

use crate::{BrokerConfig, BrokerError};

/// Marks the file as ours ("StQu"), in its header.
const APPLICATION: i64 = 0x5374_5175;

/// The version of these tables.
const VERSION: i64 = 1;

/// `events` is the history, and the bodies of what waits for dispatch: `pending` has the ids of
/// those. `upto` counts the bytes of the history, so that its size is known by two rows. `kind`
/// is empty for what was sent straight to the queue, `key` for what is no event.
///
/// `messages` holds the other queues, by lane. One that is delayed is a message of
/// `studio.deliver` that is ready later: nothing is written when its time has come.
const SCHEMA: [&str; 6] = [
    "CREATE TABLE events (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, upto INTEGER NOT NULL,
        key BLOB UNIQUE, kind TEXT, head TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE pending (id INTEGER PRIMARY KEY)",
    "CREATE TABLE messages (
        id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, ready_at INTEGER NOT NULL,
        delay INTEGER NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX messages_in_order ON messages (lane, ready_at, id, delay)",
    // Written to find out whether the disk takes anything again.
    "CREATE TABLE probe (id INTEGER PRIMARY KEY, tries INTEGER NOT NULL)",
    "INSERT INTO probe VALUES (1, 0)",
];

/// Pages (of 4 KiB) in the write-ahead log before they are moved to the file.
const CHECKPOINT: &str = "4000";

/// What is kept of the log's space, in bytes.
const LOG_SPACE: &str = "67108864";

/// The one row counts the starts in a row after which the file was not closed.
const ENDS: &str =
    "CREATE TABLE IF NOT EXISTS ends (id INTEGER PRIMARY KEY, unclean INTEGER NOT NULL)";

/// Connections that read.
const READERS: u32 = 3;

/// The open file.
pub(super) struct QueueFile {
    path: String,
    placed: PlacedFile,
    pub(super) readers: SqlitePool,
    /// Held as long as the file is open: a second process is refused.
    lock: Mutex<Option<File>>,
}

impl QueueFile {
    /// The file, and the one connection that writes.
    pub(super) async fn open(
        config: &BrokerConfig,
    ) -> Result<(Self, SqliteConnection), BrokerError> {
        let path = config.url.file("embedded").unwrap_or_default();
        if path.is_empty() {
            let message = "expected embedded://PATH with the path of a file".to_owned();
            return Err(BrokerError::Config { key: "broker.url", message });
        }
        let wrong = |message: String| BrokerError::File { path: path.to_owned(), message };
        if let Some(folder) = Path::new(path).parent() {
            ensure_private_folder(folder)
                .map_err(|e| wrong(format!("its folder cannot be made: {e}")))?;
        }
        let lock = lock(path).map_err(wrong)?;
        ensure_private_file(path).map_err(|e| wrong(format!("it cannot be made: {e}")))?;
        for wide in database_open_to_others(path) {
            tracing::warn!("{wide}");
        }
        let options = options(path);
        let mut writer = options.connect().await.map_err(|e| wrong(unusable(&e)))?;
        prepare(&mut writer).await.map_err(wrong)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        let placed =
            PlacedFile::at(path).map_err(|e| wrong(format!("it cannot be looked at: {e}")))?;
        let lock = Mutex::new(Some(lock));
        Ok((Self { path: path.to_owned(), placed, readers, lock }, writer))
    }

    /// Whether it is still where it was opened.
    pub(super) fn check_place(&self) -> Result<(), Misplaced> {
        self.placed.check()
    }

    /// What went wrong, with the file's name.
    pub(super) fn trouble(&self, error: &sqlx::Error) -> String {
        format!("the queue file {}: {error}", self.path)
    }

    /// How many processes in a row ended soon after their start, without closing the file.
    pub(super) async fn unclean_ends(writer: &mut SqliteConnection) -> Result<u32, sqlx::Error> {
        sqlx::query(ENDS).execute(&mut *writer).await?;
        let sql = "SELECT unclean FROM ends";
        let ends: Option<i64> = sqlx::query_scalar(sql).fetch_optional(writer).await?;
        Ok(ends.map_or(0, |ends| u32::try_from(ends).unwrap_or(0)))
    }

    /// After the writer has ended. Another process may open the file then.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The first column of the first row.
    pub(super) async fn number(
        &self,
        sql: &'static str,
        values: &[i64],
    ) -> Result<Option<i64>, sqlx::Error> {
        let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(*value));
        let row: Option<SqliteRow> = query.fetch_optional(&self.readers).await?;
        row.map_or(Ok(None), |row| row.try_get(0))
    }
}

fn options(path: &str) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .pragma("wal_autocheckpoint", CHECKPOINT)
        .pragma("journal_size_limit", LOG_SPACE)
        // What a statement needs to undo itself stays in memory.
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

/// Makes the tables in a new file; refuses one that is damaged or not ours.
async fn prepare(writer: &mut SqliteConnection) -> Result<(), String> {
    let tables = "SELECT count(*) FROM sqlite_master";
    let empty = pragma(writer, tables).await? == 0;
    let application = pragma(writer, "PRAGMA application_id").await?;
    if empty && application == 0 {
        return make(writer).await.map_err(|e| format!("it cannot be made: {e}"));
    }
    if application != APPLICATION {
        return Err(
            "it is a database of something else; give the queues a file of their own".into()
        );
    }
    let version = pragma(writer, "PRAGMA user_version").await?;
    if version != VERSION {
        return Err(format!(
            "it has version {version}, and this program knows version {VERSION}: open it with the \
             program that wrote it"
        ));
    }
    check(writer).await
}

async fn make(writer: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    use sqlx::Connection;
    let mut transaction = writer.begin().await?;
    for statement in SCHEMA {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    for (name, value) in [("application_id", APPLICATION), ("user_version", VERSION)] {
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA {name} = {value}"));
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Reads through the file: damage stops the start, not the work in the middle of it.
async fn check(writer: &mut SqliteConnection) -> Result<(), String> {
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(writer)
        .await
        .map_err(|e| unusable(&e))?;
    if verdict == "ok" { Ok(()) } else { Err(damaged(&verdict)) }
}

async fn pragma(writer: &mut SqliteConnection, sql: &'static str) -> Result<i64, String> {
    sqlx::query_scalar(sql).fetch_one(writer).await.map_err(|e| unusable(&e))
}

fn unusable(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("26") => "it is no SQLite file; give the queues a file of their own".to_owned(),
        Some("11") => damaged(&error.to_string()),
        _ => format!("it cannot be opened: {error}"),
    }
}

fn damaged(how: &str) -> String {
    format!("it is damaged ({how}): restore it, or move it away to begin with empty queues")
}

fn lock(path: &str) -> Result<File, String> {
    let path = format!("{path}.lock");
    let lock = ensure_private_file(&path)
        .and_then(|()| OpenOptions::new().write(true).open(&path))
        .map_err(|e| format!("it cannot be locked: {e}"))?;
    lock.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => {
            "another process has it open; one process at a time can use it".to_owned()
        }
        TryLockError::Error(error) => format!("it cannot be locked: {error}"),
    })?;
    Ok(lock)
}
