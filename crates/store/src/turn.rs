//! SQLite's one connection that writes, by one at a time, and made anew when it may not be what
//! it seems.
//!
//! After a transaction that was not committed, the driver and SQLite may disagree on whether one
//! is open: on a full disk SQLite ends it by itself, and a rollback can be lost with whoever was to
//! wait for it. The next "transaction" would be a savepoint within one that nobody ever commits:
//! all writes would seem to succeed, and be gone with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::PlacedFile;
use sea_orm::sqlx::SqlitePool;
use sea_orm::{DbErr, RuntimeErr};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Gives the connection to one writer at a time.
#[derive(Debug)]
pub(crate) struct Turns {
    file: PlacedFile,
    pool: SqlitePool,
    next: Arc<Mutex<()>>,
    doubtful: AtomicBool,
}

/// For as long as it is held nobody else writes. Unless it ends well, the connection is made anew
/// for the next.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    ended_well: bool,
    _held: OwnedMutexGuard<()>,
}

impl Turns {
    /// The turns of `pool`, which has one connection, to `file`.
    pub(crate) fn of(pool: SqlitePool, file: PlacedFile) -> Arc<Self> {
        Arc::new(Self { file, pool, next: Arc::default(), doubtful: AtomicBool::new(false) })
    }

    /// Whether the file is still in its place.
    pub(crate) fn check_file(&self) -> Result<(), DbErr> {
        self.file.check().map_err(|error| DbErr::Conn(RuntimeErr::Internal(error.to_string())))
    }

    /// The next turn, in the order in which they were asked for.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Turn, DbErr> {
        let held = self.next.clone().lock_owned().await;
        self.check_file()?;
        if self.doubtful.load(Ordering::Acquire) {
            let failed = |error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)));
            let connection = self.pool.acquire().await.map_err(failed)?;
            // It is gone even when closing it fails; SQLite undoes what is open.
            drop(connection.close().await);
            self.doubtful.store(false, Ordering::Release);
        }
        Ok(Turn { turns: self.clone(), ended_well: false, _held: held })
    }
}

impl Turn {
    /// Ends it, with all that was done in it committed.
    pub(crate) fn end_well(mut self) {
        self.ended_well = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended_well {
            self.turns.doubtful.store(true, Ordering::Release);
        }
    }
}
