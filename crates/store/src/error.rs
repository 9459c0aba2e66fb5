//! What can go wrong, by what the caller does about it.

use sea_orm::{DbErr, RuntimeErr, sqlx};

use crate::schema::REMEDY;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Unknown, or another user's: the two look the same.
    #[error("not found")]
    NotFound,
    /// The user has as many webhooks as allowed.
    #[error("the limit of {0} webhooks is reached")]
    LimitReached(u64),
    /// A text of the user's holds NUL, which PostgreSQL cannot keep; names the field.
    #[error("{0} holds the character NUL, which cannot be stored")]
    InvalidText(&'static str),
    /// A webhook's own headers cannot be as asked.
    #[error("headers: {0}")]
    Headers(#[from] domain::RefusedHeaders),
    /// Worth retrying: the database is away, busy, or the connection broke.
    #[error("the database is away: {0}")]
    Unavailable(String),
    /// A setting is wrong, or the database is not up to date; the text says what to do.
    #[error("{key}: {message}")]
    Config {
        /// The setting, such as `secrets.keys`.
        key: &'static str,
        /// What is wrong and what is expected.
        message: String,
    },
    /// A row holds what it cannot hold: another version wrote it, or it is damaged.
    #[error("a stored {what} cannot be read: {message}")]
    Corrupt {
        /// Which kind of row.
        what: &'static str,
        /// Why.
        message: String,
    },
}

impl StoreError {
    pub(crate) fn corrupt(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt { what, message: reason.to_string() }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        let message = error.to_string();
        match trouble(&error) {
            Trouble::Missing => Self::NotFound,
            Trouble::Away | Trouble::Conflict => Self::Unavailable(message),
            Trouble::Setting => Self::Config { key: "database.url", message },
            Trouble::Outdated => {
                let message = format!("the database is not up to date; {REMEDY} ({message})");
                Self::Config { key: "database.url", message }
            }
            Trouble::Damaged => Self::Corrupt { what: "row or table", message },
        }
    }
}

/// Whether the database broke a transaction off in favour of another: the same again succeeds.
pub(crate) fn is_conflict(error: &DbErr) -> bool {
    trouble(error) == Trouble::Conflict
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Missing,
    Away,
    Conflict,
    Setting,
    Outdated,
    Damaged,
}

fn trouble(error: &DbErr) -> Trouble {
    match error {
        DbErr::RecordNotFound(_) | DbErr::RecordNotUpdated => Trouble::Missing,
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => of_driver(cause),
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Trouble::Away,
        _ => Trouble::Damaged,
    }
}

fn of_driver(error: &sqlx::Error) -> Trouble {
    use sqlx::Error;
    match error {
        Error::Database(reported) => {
            let code = reported.code().unwrap_or_default();
            let from_postgres = reported.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
            match from_postgres {
                Some(_) => of_postgres(&code),
                None => of_sqlite(code.parse().unwrap_or(0), reported.message()),
            }
        }
        Error::Configuration(_) => Trouble::Setting,
        Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::BeginFailed => Trouble::Away,
        _ => Trouble::Damaged,
    }
}

/// By SQLSTATE (PostgreSQL manual, appendix A).
fn of_postgres(code: &str) -> Trouble {
    match code {
        "42P01" | "42703" => Trouble::Outdated,
        // Read-only: a standby that is not promoted yet.
        "25006" => Trouble::Away,
        _ => match code.get(..2).unwrap_or_default() {
            "40" => Trouble::Conflict,
            "28" | "3D" => Trouble::Setting,
            // Connection, resources, object in use, operator, system.
            "08" | "53" | "55" | "57" | "58" => Trouble::Away,
            _ => Trouble::Damaged,
        },
    }
}

/// By result code (sqlite.org/rescode.html); its low byte names the kind.
fn of_sqlite(code: i32, message: &str) -> Trouble {
    match code & 0xff {
        5 | 6 => Trouble::Conflict,
        // Read-only, interrupted, I/O, full, cannot open.
        8 | 9 | 10 | 13 | 14 => Trouble::Away,
        1 if message.starts_with("no such") => Trouble::Outdated,
        _ => Trouble::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_worth_retrying() {
        for code in ["57P01", "57P03", "57014", "53300", "08006", "25006", "55P03"] {
            assert_eq!(of_postgres(code), Trouble::Away, "{code}");
        }
        assert_eq!(of_postgres("40P01"), Trouble::Conflict);
        assert_eq!(of_sqlite(517, "database is locked"), Trouble::Conflict);
        assert_eq!(of_sqlite(13, "database or disk is full"), Trouble::Away);
    }

    #[test]
    fn what_does_not_pass_by_itself_is_not() {
        assert_eq!(of_postgres("28P01"), Trouble::Setting);
        assert_eq!(of_postgres("42P01"), Trouble::Outdated);
        assert_eq!(of_sqlite(1, "no such table: webhooks"), Trouble::Outdated);
        assert_eq!(of_postgres("23505"), Trouble::Damaged);
        assert_eq!(of_sqlite(11, "database disk image is malformed"), Trouble::Damaged);
    }
}
