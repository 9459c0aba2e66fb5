//! The database's shape: bringing it up to date, and seeing whether it is.

use std::collections::HashSet;

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, EntityTrait, Statement,
};
use sea_orm_migration::{MigratorTrait, seaql_migrations};

use crate::connection::{close, connections};
use crate::migration::Migrator;
use crate::patience::Patient;
use crate::{Act, Action, DatabaseConfig, Deed, ObjectKind, Store, StoreError, Via, audit};

/// The advisory lock that a migration holds on PostgreSQL: `studio` in ASCII.
const MIGRATION_LOCK: i64 = 0x73_74_75_64_69_6f;

impl Store {
    /// Brings the database up to date; gives back how many migrations were applied. Several at
    /// once are fine: one does the work. Either all of it is done or nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn migrate(&self) -> Result<usize, StoreError> {
        bring_up_to_date(&self.writer, &self.act).await
    }

    /// Whether the database is up to date. One that a later release has brought further is.
    ///
    /// # Errors
    /// [`StoreError::Config`] when it is not, with the command that helps;
    /// [`StoreError::Unavailable`] while it is away.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        self.ping().await?;
        match missing(self.reader.unbounded()).await? {
            0 => Ok(()),
            count => Err(StoreError::Config {
                key: "database.url",
                message: format!("the database lacks {count} of the migrations; {REMEDY}"),
            }),
        }
    }
}

/// Brings the database that `database` names up to date, as [`Store::migrate`] does, without the keys
/// that its values are encrypted with: whoever changes tables need not be able to read what they hold.
/// It is noted as done by `act`.
///
/// # Errors
/// [`StoreError::Config`] when a setting is wrong; [`StoreError::Unavailable`] while the database is
/// away.
pub async fn migrate(database: &DatabaseConfig, act: &Act) -> Result<usize, StoreError> {
    let connections = connections(database).await?;
    let applied = bring_up_to_date(&connections.0, act).await;
    close(connections).await;
    applied
}

async fn bring_up_to_date(
    writer: &Patient<DatabaseConnection>,
    act: &Act,
) -> Result<usize, StoreError> {
    // SQLite takes its write lock here, PostgreSQL the lock below; both end with the transaction,
    // whatever becomes of this process.
    let transaction = writer.begin().await?;
    let connection = transaction.unbounded();
    if writer.get_database_backend() == DatabaseBackend::Postgres {
        connection.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
        let statement = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            "SELECT pg_advisory_xact_lock($1)",
            [MIGRATION_LOCK.into()],
        );
        connection.execute_raw(statement).await?;
    }
    let missing = missing(connection).await?;
    if missing > 0 {
        Migrator::up(connection, None).await?;
        let deed = Deed::of(Action::DatabaseMigrate, ObjectKind::Installation, "database");
        let deed = deed.outcome(&format!("{missing} migrations"));
        let noted = audit::note(connection, act, &deed).await?;
        transaction.commit().await?;
        // A service does so at its start, which says one line when it fails.
        if act.via == Via::Command {
            noted.log();
        }
    }
    Ok(missing)
}

/// What helps when tables or columns are missing.
pub(crate) const REMEDY: &str = "run `studio-webhooks migrate`";

/// How many migrations the database lacks. Only reads: a service may lack the right to make
/// tables, and several start at once.
async fn missing(connection: &impl ConnectionTrait) -> Result<usize, DbErr> {
    let names = Migrator::migrations().into_iter().map(|m| m.name().to_owned());
    if !has_migrations_table(connection).await? {
        return Ok(names.count());
    }
    let applied = seaql_migrations::Entity::find().all(connection).await?;
    let applied: HashSet<String> = applied.into_iter().map(|row| row.version).collect();
    Ok(names.filter(|name| !applied.contains(name)).count())
}

async fn has_migrations_table(connection: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DatabaseBackend::Postgres => "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL",
        _ => "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    let row = connection.query_one_raw(Statement::from_string(backend, sql)).await?;
    Ok(row.is_some())
}
