//! The file: opened by one process at a time, made where there is none, never made anew where
//! there is one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DbErr,
    QueryResult, Statement, Value,
};

use crate::{BrokerError, Queue};

/// Tables of this version. A delayed message has `due_at` (unix ms) and goes to studio.deliver
/// then. An event's body stands in `history`, and the message that dispatches it points there.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS history (
    seq INTEGER PRIMARY KEY,
    user_id TEXT, event_id TEXT,
    published_at INTEGER NOT NULL,
    content_type INTEGER NOT NULL, message_id TEXT, routing_key TEXT,
    headers TEXT NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS history_once ON history (user_id, event_id);
CREATE INDEX IF NOT EXISTS history_by_time ON history (published_at);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL, due_at INTEGER, history_seq INTEGER,
    content_type INTEGER NOT NULL, message_id TEXT,
    headers TEXT NOT NULL, body BLOB
);
CREATE INDEX IF NOT EXISTS messages_by_queue ON messages (queue, id) WHERE due_at IS NULL;
CREATE INDEX IF NOT EXISTS messages_by_due ON messages (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS messages_by_history ON messages (history_seq)
    WHERE history_seq IS NOT NULL;
";

/// The open file.
pub(super) struct QueueFile {
    pub(super) db: DatabaseConnection,
    path: String,
    /// Held as long as the file is open: a second process is refused.
    _lock: File,
}

impl QueueFile {
    pub(super) async fn open(path: &str) -> Result<Self, BrokerError> {
        let wrong = |message: String| BrokerError::File { path: path.to_owned(), message };
        if let Some(folder) = Path::new(path).parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| wrong(format!("its folder cannot be made: {e}")))?;
        }
        let lock = lock(path).map_err(wrong)?;
        let mut options = ConnectOptions::new(format!("sqlite://{path}?mode=rwc"));
        options
            .max_connections(3)
            .test_before_acquire(false)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
                    .synchronous(sea_orm::sqlx::sqlite::SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(5))
                    .statement_cache_capacity(64)
            });
        let damaged = |e: DbErr| {
            wrong(format!("it cannot be used: {e}; move it away to begin with empty queues"))
        };
        let db = Database::connect(options).await.map_err(damaged)?;
        db.execute_unprepared(SCHEMA).await.map_err(damaged)?;
        let file = Self { db, path: path.to_owned(), _lock: lock };
        file.check().await?;
        Ok(file)
    }

    /// Reads through the indexes: damage stops the start, not the work in the middle of it.
    async fn check(&self) -> Result<(), BrokerError> {
        let row = self.one("PRAGMA quick_check(1)", []).await?;
        let verdict = row.and_then(|row| row.try_get_by_index::<String>(0).ok());
        if verdict.as_deref() == Some("ok") {
            return Ok(());
        }
        let message = format!("it is damaged: {}", verdict.unwrap_or_default());
        Err(BrokerError::File { path: self.path.clone(), message })
    }

    pub(super) async fn one<const N: usize>(
        &self,
        sql: &str,
        values: [Value; N],
    ) -> Result<Option<QueryResult>, BrokerError> {
        let statement = Statement::from_sql_and_values(DatabaseBackend::Sqlite, sql, values);
        self.db.query_one_raw(statement).await.map_err(|e| self.away(&e))
    }

    pub(super) fn away(&self, error: &DbErr) -> BrokerError {
        BrokerError::Unavailable(format!("the queue file {}: {error}", self.path))
    }

    /// A number of one row, 0 where there is none.
    pub(super) async fn number(&self, sql: &str) -> Result<i64, BrokerError> {
        let row = self.one(sql, []).await?;
        Ok(row.and_then(|row| row.try_get_by_index::<Option<i64>>(0).ok().flatten()).unwrap_or(0))
    }

    /// For each queue the last id that an earlier process left.
    pub(super) async fn left_over(&self) -> Result<HashMap<String, i64>, BrokerError> {
        let sql = "SELECT queue, max(id) FROM messages WHERE due_at IS NULL GROUP BY queue";
        let statement = Statement::from_string(DatabaseBackend::Sqlite, sql);
        let rows = self.db.query_all_raw(statement).await.map_err(|e| self.away(&e))?;
        let read = |row: &QueryResult| {
            Ok((row.try_get_by_index::<String>(0)?, row.try_get_by_index::<i64>(1)?))
        };
        rows.iter().map(read).collect::<Result<_, DbErr>>().map_err(|e| self.away(&e))
    }

    pub(super) async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        let sql = "SELECT count(*) FROM messages WHERE queue = ?";
        let row = self.one(sql, [queue.to_string().into()]).await?;
        let count = row.and_then(|row| row.try_get_by_index::<i64>(0).ok()).unwrap_or(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.db.clone().close().await {
            tracing::warn!("the queue file was not closed cleanly: {error}");
        }
    }
}

fn lock(path: &str) -> Result<File, String> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(format!("{path}.lock"))
        .map_err(|e| format!("it cannot be locked: {e}"))?;
    lock.try_lock().map_err(|e| match e {
        std::fs::TryLockError::WouldBlock => {
            "another process has it open; one process at a time can use it".to_owned()
        }
        std::fs::TryLockError::Error(error) => format!("it cannot be locked: {error}"),
    })?;
    Ok(lock)
}
