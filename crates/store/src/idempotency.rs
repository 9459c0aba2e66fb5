//! Answers kept for requests that may be sent again: a key is claimed, answered or let go. The
//! seed of a claim stays with its key, so that work begun again after a crash makes the same ids.

use std::time::Duration;

use domain::UserId;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Statement};
use uuid::Uuid;

use crate::entity::idempotency_key::{Column, Entity, Model};
use crate::instant::{now, to_micros};
use crate::keyring::{Place, is_bound};
use crate::{Store, StoreError};

/// How long a key is kept.
pub const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// Largest answer that is kept, bytes.
pub const LARGEST_ANSWER: usize = 1024 * 1024;

/// Keys that one statement removes, at most.
const REMOVED_AT_ONCE: u16 = 500;

/// A request with an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct KeyedRequest<'a> {
    /// Whose key: the same key of another user is another key.
    pub user: &'a UserId,
    /// 1 to 255 printable ASCII characters.
    pub key: &'a str,
    /// A hash of everything that the request asks for.
    pub fingerprint: &'a [u8],
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The request is to be worked on; its ids are made from this seed.
    New(Uuid),
    /// Somebody works on it.
    UnderWay,
    /// It was answered.
    Answered {
        /// The answer's status.
        status: u16,
        /// The answer's body.
        body: Vec<u8>,
    },
    /// The key belongs to another request.
    Taken,
}

/// What names the row of an answer: the request that it was given to, and the key.
pub(crate) fn row(fingerprint: &[u8], key: &str) -> Vec<u8> {
    [&(fingerprint.len() as u64).to_be_bytes(), fingerprint, key.as_bytes()].concat()
}

/// Where a stored answer stands.
pub(crate) fn place<'a>(row: &'a [u8], owner: &'a str) -> Place<'a> {
    Place { table: "idempotency_keys", row, owner, column: "answer" }
}

impl Store {
    /// Claims the key for `length` from now: who works longer, or is killed, loses it to the next
    /// one who sends the same request.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away; [`StoreError::Corrupt`] when no
    /// key opens the answer.
    pub async fn claim_key(
        &self,
        request: KeyedRequest<'_>,
        length: Duration,
    ) -> Result<Claimed, StoreError> {
        // A key that is removed between two statements is free for the next round.
        for _ in 0..3 {
            if let Some(seed) = self.try_claim(request, length).await? {
                return Ok(Claimed::New(seed));
            }
            match found(request).one(&self.writer).await? {
                Some(row) if is_old(&row) => self.forget_old(&row).await?,
                Some(row) if row.answer.as_deref().is_some_and(|answer| !is_bound(answer)) => {
                    self.forget_answer(&row).await?;
                }
                Some(row) => return self.standing(request, row),
                None => {}
            }
        }
        Ok(Claimed::UnderWay)
    }

    /// Keeps the answer of the request claimed with `seed`, unless there is one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn answer_key(
        &self,
        request: KeyedRequest<'_>,
        seed: Uuid,
        status: u16,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let row = row(request.fingerprint, request.key);
        let sealed = self.keyring.seal(place(&row, request.user.as_str()), body);
        let sql = "UPDATE idempotency_keys SET status = $1, answer = $2 \
             WHERE user_id = $3 AND key = $4 AND seed = $5 AND status IS NULL";
        let status = i16::try_from(status).unwrap_or(i16::MAX);
        let values = [
            status.into(),
            sealed.into(),
            request.user.as_str().into(),
            request.key.into(),
            seed.into(),
        ];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.writer.execute_raw(statement).await?;
        Ok(())
    }

    /// Lets the key go: nothing came of the request. The same request may follow at once, with
    /// the same seed; where `forget`, also another one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn release_key(
        &self,
        request: KeyedRequest<'_>,
        seed: Uuid,
        forget: bool,
    ) -> Result<(), StoreError> {
        let what = if forget {
            "DELETE FROM idempotency_keys"
        } else {
            "UPDATE idempotency_keys SET locked_until = 0"
        };
        let sql =
            format!("{what} WHERE user_id = $1 AND key = $2 AND seed = $3 AND status IS NULL");
        let values = [request.user.as_str().into(), request.key.into(), seed.into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.writer.execute_raw(statement).await?;
        Ok(())
    }

    /// Removes some keys that are older than [`KEY_LIFETIME`]; whether there may be more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn remove_old_keys(&self) -> Result<bool, StoreError> {
        let sql = "DELETE FROM idempotency_keys WHERE (user_id, key) IN \
             (SELECT user_id, key FROM idempotency_keys WHERE created_at <= $1 \
              ORDER BY created_at LIMIT $2)";
        let values = [oldest_kept().into(), i64::from(REMOVED_AT_ONCE).into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let removed = self.writer.execute_raw(statement).await?.rows_affected();
        Ok(removed == u64::from(REMOVED_AT_ONCE))
    }

    async fn try_claim(
        &self,
        request: KeyedRequest<'_>,
        length: Duration,
    ) -> Result<Option<Uuid>, StoreError> {
        let clock = self.clock();
        let sql = format!(
            "INSERT INTO idempotency_keys \
                 (user_id, key, fingerprint, seed, created_at, locked_until) \
             VALUES ($1, $2, $3, $4, $5, {clock} + $6) \
             ON CONFLICT (user_id, key) DO UPDATE SET locked_until = excluded.locked_until \
             WHERE idempotency_keys.status IS NULL AND idempotency_keys.locked_until <= {clock} \
                 AND idempotency_keys.fingerprint = excluded.fingerprint \
                 AND idempotency_keys.created_at > $7 \
             RETURNING seed"
        );
        let values = [
            request.user.as_str().into(),
            request.key.into(),
            request.fingerprint.to_vec().into(),
            Uuid::now_v7().into(),
            to_micros(now()).into(),
            i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 2).into(),
            oldest_kept().into(),
        ];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let row = self.writer.query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get("", "seed")).transpose()?)
    }

    fn standing(&self, request: KeyedRequest<'_>, row: Model) -> Result<Claimed, StoreError> {
        if row.fingerprint != request.fingerprint {
            return Ok(Claimed::Taken);
        }
        let (Some(status), Some(sealed)) = (row.status, row.answer) else {
            return Ok(Claimed::UnderWay);
        };
        let place_of = self::row(&row.fingerprint, &row.key);
        let body = self.keyring.open(place(&place_of, &row.user_id), &sealed)?;
        let status = u16::try_from(status).map_err(|e| StoreError::corrupt("answer", e))?;
        Ok(Claimed::Answered { status, body })
    }

    /// Forgets an answer that an earlier release stored, which is not bound to its owner: the
    /// request may be made again, with its seed, and makes the same ids.
    pub(crate) async fn forget_answer(&self, row: &Model) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::Status, Expr::value(Option::<i16>::None))
            .col_expr(Column::Answer, Expr::value(Option::<Vec<u8>>::None))
            .col_expr(Column::LockedUntil, Expr::value(0_i64))
            .filter(Column::UserId.eq(row.user_id.as_str()))
            .filter(Column::Key.eq(row.key.as_str()))
            .filter(Column::Answer.eq(row.answer.clone()))
            .exec(&self.writer)
            .await?;
        Ok(())
    }

    async fn forget_old(&self, row: &Model) -> Result<(), StoreError> {
        Entity::delete_many()
            .filter(Column::UserId.eq(row.user_id.as_str()))
            .filter(Column::Key.eq(row.key.as_str()))
            .filter(Column::CreatedAt.eq(row.created_at))
            .exec(&self.writer)
            .await?;
        Ok(())
    }
}

fn found(request: KeyedRequest<'_>) -> sea_orm::Select<Entity> {
    Entity::find()
        .filter(Column::UserId.eq(request.user.as_str()))
        .filter(Column::Key.eq(request.key))
}

fn oldest_kept() -> i64 {
    to_micros(now() - KEY_LIFETIME)
}

fn is_old(row: &Model) -> bool {
    row.created_at <= oldest_kept()
}
