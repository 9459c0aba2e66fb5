//! A connection that is not waited for without end. PostgreSQL's own statement timeout needs a
//! server that answers; one that is frozen or cut off does not.

use std::future::Future;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, ExecResult,
    QueryResult, RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};

/// How long a statement is waited for, the wait for a connection included.
const LONGEST: Duration = Duration::from_secs(6);

/// A connection or transaction of which every statement ends within [`LONGEST`].
#[derive(Clone, Debug)]
pub(crate) struct Patient<C>(C);

impl<C> Patient<C> {
    pub(crate) fn new(connection: C) -> Self {
        Self(connection)
    }

    /// The connection itself, for what may take long.
    pub(crate) fn unbounded(&self) -> &C {
        &self.0
    }
}

impl Patient<DatabaseConnection> {
    /// A transaction that writes. SQLite takes its one write lock at the start, so that two that
    /// read first cannot both want to write.
    pub(crate) async fn begin(&self) -> Result<Patient<DatabaseTransaction>, DbErr> {
        let mode = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..Default::default() };
        in_time(self.0.begin_with_options(options)).await.map(Patient)
    }

    pub(crate) async fn close(self) -> Result<(), DbErr> {
        in_time(self.0.close()).await
    }
}

impl Patient<DatabaseTransaction> {
    /// Whether it was committed is unknown after an error.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        in_time(self.0.commit()).await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    tokio::time::timeout(LONGEST, work).await.unwrap_or_else(|_| {
        Err(DbErr::Conn(RuntimeErr::Internal(format!("no answer within {LONGEST:?}"))))
    })
}

#[async_trait::async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Patient<C> {
    fn get_database_backend(&self) -> DatabaseBackend {
        self.0.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        in_time(self.0.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        in_time(self.0.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        in_time(self.0.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        in_time(self.0.query_all_raw(statement)).await
    }

    fn support_returning(&self) -> bool {
        self.0.support_returning()
    }
}
