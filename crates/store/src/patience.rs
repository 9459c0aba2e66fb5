//! A connection that is not waited for without end. PostgreSQL's own statement timeout needs a
//! server that answers; one that is frozen or cut off does not.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::PlacedFile;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, ExecResult,
    QueryResult, RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};

use crate::turn::{Turn, Turns};

/// How long a statement is waited for, the wait for a connection included.
pub const LONGEST_WAIT: Duration = Duration::from_secs(6);

/// A connection or transaction of which every statement ends within [`LONGEST_WAIT`].
#[derive(Debug)]
pub(crate) struct Patient<C> {
    connection: C,
    /// Statements and commits so far, of a connection and of its transactions.
    done: Arc<AtomicU64>,
    /// Of SQLite's connection that writes.
    turns: Option<Arc<Turns>>,
    /// A transaction's; dropped after it.
    turn: Option<Turn>,
}

impl<C> Patient<C> {
    pub(crate) fn new(connection: C) -> Self {
        Self { connection, done: Arc::default(), turns: None, turn: None }
    }

    /// Whether the file that is written to, where there is one, is still in its place.
    pub(crate) fn check_file(&self) -> Result<(), DbErr> {
        self.turns.as_ref().map_or(Ok(()), |turns| turns.check_file())
    }

    /// The connection itself, for what may take long.
    pub(crate) fn unbounded(&self) -> &C {
        &self.connection
    }

    /// A number that grows whenever something was done, after it can be seen by others and before
    /// whoever asked for it is told.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// A turn to write, where there are turns.
    async fn take_turn(&self) -> Result<Option<Turn>, DbErr> {
        match &self.turns {
            Some(turns) => turns.take().await.map(Some),
            None => Ok(None),
        }
    }

    async fn counted<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let in_turn = async {
            let turn = self.take_turn().await?;
            let worked = work.await?;
            if let Some(turn) = turn {
                turn.end_well();
            }
            Ok(worked)
        };
        let worked = in_time(in_turn).await;
        self.done.fetch_add(1, Ordering::Release);
        worked
    }
}

impl Clone for Patient<DatabaseConnection> {
    fn clone(&self) -> Self {
        Self {
            connection: self.connection.clone(),
            done: self.done.clone(),
            turns: self.turns.clone(),
            turn: None,
        }
    }
}

impl Patient<DatabaseConnection> {
    /// Writes to `file`, of which it is the only connection that does.
    pub(crate) fn to(self, file: PlacedFile) -> Self {
        let pool = self.connection.get_sqlite_connection_pool().clone();
        Self { turns: Some(Turns::of(pool, file)), ..self }
    }

    /// A transaction that writes. SQLite takes its one write lock at the start, so that two that
    /// read first cannot both want to write.
    pub(crate) async fn begin(&self) -> Result<Patient<DatabaseTransaction>, DbErr> {
        let mode = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..Default::default() };
        let begin = async {
            let turn = self.take_turn().await?;
            Ok((self.connection.begin_with_options(options).await?, turn))
        };
        let (connection, turn) = in_time(begin).await?;
        // All of it is done in the one turn.
        Ok(Patient { connection, done: self.done.clone(), turns: None, turn })
    }

    pub(crate) async fn close(self) -> Result<(), DbErr> {
        in_time(self.connection.close()).await
    }
}

impl Patient<DatabaseTransaction> {
    /// Ends it as if nothing had been done.
    pub(crate) async fn rollback(self) -> Result<(), DbErr> {
        in_time(self.connection.rollback()).await?;
        if let Some(turn) = self.turn {
            turn.end_well();
        }
        Ok(())
    }

    /// Whether it was committed is unknown after an error.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        let committed = in_time(self.connection.commit()).await;
        self.done.fetch_add(1, Ordering::Release);
        if let (Ok(()), Some(turn)) = (&committed, self.turn) {
            turn.end_well();
        }
        committed
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    tokio::time::timeout(LONGEST_WAIT, work).await.unwrap_or_else(|_| {
        Err(DbErr::Conn(RuntimeErr::Internal(format!("no answer within {LONGEST_WAIT:?}"))))
    })
}

#[async_trait::async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Patient<C> {
    fn get_database_backend(&self) -> DatabaseBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.counted(self.connection.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.counted(self.connection.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.counted(self.connection.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.counted(self.connection.query_all_raw(statement)).await
    }

    fn support_returning(&self) -> bool {
        self.connection.support_returning()
    }
}
