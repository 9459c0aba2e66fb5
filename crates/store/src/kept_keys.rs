//! How much is kept of a user's idempotency keys, and the oldest of them forgotten where it is too
//! much.

use std::ops::{AddAssign, Sub};

use domain::UserId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, DbErr, EntityTrait, QueryFilter, Statement,
};

use crate::entity::idempotency_key::{Column, Entity};
use crate::{Store, StoreError};

/// What a key takes beside itself and its answer, bytes: ids, times, their indexes.
pub const KEY_BYTES: u64 = 256;

/// Keys that one statement removes, at most.
const REMOVED_AT_ONCE: usize = 500;

/// Bytes that one statement removes, about: others wait for it.
const BYTES_AT_ONCE: u64 = 4 * 1024 * 1024;

/// Statements of one call, at most.
const STEPS: usize = 16;

/// Keys, and the bytes of them and their answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptKeys {
    /// How many keys.
    pub keys: u64,
    /// Bytes of answers (as they are stored), keys, and [`KEY_BYTES`] of each.
    pub bytes: u64,
}

impl KeptKeys {
    /// Whether there are no more keys than in `most`, and no more bytes.
    #[must_use]
    pub const fn is_within(self, most: Self) -> bool {
        self.keys <= most.keys && self.bytes <= most.bytes
    }
}

impl AddAssign for KeptKeys {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

impl Sub for KeptKeys {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            keys: self.keys.saturating_sub(other.keys),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Store {
    /// How much is kept of the user's keys. Looks at each of them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn kept_keys(&self, user: &UserId) -> Result<KeptKeys, StoreError> {
        let sql = format!(
            "SELECT COUNT(*) AS keys, CAST(COALESCE(SUM({}), 0) AS BIGINT) AS bytes \
             FROM idempotency_keys WHERE user_id = $1",
            self.size()
        );
        let statement = Statement::from_sql_and_values(self.backend(), sql, [user.as_str().into()]);
        let row = self.writer.query_one_raw(statement).await?.ok_or(StoreError::NotFound)?;
        let number = |name| row.try_get::<i64>("", name).map(|n| u64::try_from(n).unwrap_or(0));
        Ok(KeptKeys { keys: number("keys")?, bytes: number("bytes")? })
    }

    /// Forgets the oldest of the user's keys while there are more than `most`, but for those of
    /// requests under way. What was forgotten, and whether too much is left for another call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn forget_surplus_keys(
        &self,
        user: &UserId,
        most: KeptKeys,
    ) -> Result<(KeptKeys, bool), StoreError> {
        let kept = self.kept_keys(user).await?;
        let mut forgotten = KeptKeys::default();
        for _ in 0..STEPS {
            if (kept - forgotten).is_within(most) {
                return Ok((forgotten, false));
            }
            let mut step = KeptKeys::default();
            let mut surplus = Vec::new();
            for (key, bytes) in self.oldest_keys(user).await? {
                let mut so_far = forgotten;
                so_far += step;
                if (kept - so_far).is_within(most) || step.bytes >= BYTES_AT_ONCE {
                    break;
                }
                step += KeptKeys { keys: 1, bytes };
                surplus.push(key);
            }
            if surplus.is_empty() {
                return Ok((forgotten, false));
            }
            // Locked in one order.
            surplus.sort_unstable();
            Entity::delete_many()
                .filter(Column::UserId.eq(user.as_str()))
                .filter(Column::Key.is_in(surplus))
                .exec(&self.writer)
                .await?;
            forgotten += step;
        }
        Ok((forgotten, !(kept - forgotten).is_within(most)))
    }

    /// The user's oldest keys with their sizes, those under way left out.
    async fn oldest_keys(&self, user: &UserId) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = format!(
            "SELECT key, CAST({} AS BIGINT) AS bytes FROM idempotency_keys \
             WHERE user_id = $1 AND (status IS NOT NULL OR locked_until <= {}) \
             ORDER BY created_at LIMIT {REMOVED_AT_ONCE}",
            self.size(),
            self.clock()
        );
        let statement = Statement::from_sql_and_values(self.backend(), sql, [user.as_str().into()]);
        let rows = self.writer.query_all_raw(statement).await?;
        let read = |row: &sea_orm::QueryResult| {
            let bytes: i64 = row.try_get("", "bytes")?;
            Ok::<_, DbErr>((row.try_get("", "key")?, u64::try_from(bytes).unwrap_or(0)))
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// The bytes of a row; neither database reads an answer to tell how long it is.
    fn size(&self) -> String {
        let length = match self.backend() {
            DatabaseBackend::Postgres => "octet_length",
            _ => "length",
        };
        format!("{KEY_BYTES} + {length}(key) + COALESCE({length}(answer), 0)")
    }
}
