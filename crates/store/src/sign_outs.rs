//! Who was signed out: kept for as long as the tokens of then may live, so that a restart does not
//! let them in again.

use domain::UserId;
use sea_orm::{ConnectionTrait, Statement};
use time::OffsetDateTime;

use crate::instant::{from_micros, to_micros};
use crate::{Store, StoreError};

/// Rows read together.
const READ_AT_ONCE: u32 = 5_000;

/// Rows removed together.
const REMOVED_AT_ONCE: u32 = 500;

/// A user, or one token of theirs, was signed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOutRow {
    /// Whose tokens.
    pub user: UserId,
    /// Only this one (`jti`).
    pub token_id: Option<String>,
    /// When, by the clock of the database.
    pub at: OffsetDateTime,
}

impl Store {
    /// Keeps that `user`, or only the token `token_id` of theirs, is signed out from now on; gives
    /// back when that is, by the clock of the database, so that all services mean the same time.
    ///
    /// # Errors
    /// [`StoreError::InvalidText`] when the token's id holds NUL; [`StoreError::Unavailable`] while
    /// the database is away.
    pub async fn sign_out(
        &self,
        user: &UserId,
        token_id: Option<&str>,
    ) -> Result<OffsetDateTime, StoreError> {
        let token_id = token_id.unwrap_or_default();
        if token_id.contains('\0') {
            return Err(StoreError::InvalidText("jti"));
        }
        let clock = self.clock();
        let sql = format!(
            "INSERT INTO sign_outs (user_id, token_id, at) VALUES ($1, $2, {clock}) \
             ON CONFLICT (user_id, token_id) DO UPDATE SET at = \
             CASE WHEN excluded.at > sign_outs.at THEN excluded.at ELSE sign_outs.at END \
             RETURNING at"
        );
        let values = [user.as_str().into(), token_id.into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let row = self.writer.query_one_raw(statement).await?.ok_or(StoreError::NotFound)?;
        from_micros(row.try_get("", "at")?)
    }

    /// Every sign-out at or after `since`, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn sign_outs(&self, since: OffsetDateTime) -> Result<Vec<SignOutRow>, StoreError> {
        let sql = format!(
            "SELECT user_id, token_id, at FROM sign_outs \
             WHERE at > $1 OR (at = $1 AND (user_id > $2 OR (user_id = $2 AND token_id > $3))) \
             ORDER BY at, user_id, token_id LIMIT {READ_AT_ONCE}"
        );
        let mut found = Vec::new();
        let mut last = (to_micros(since) - 1, String::new(), String::new());
        loop {
            let values = [last.0.into(), last.1.as_str().into(), last.2.as_str().into()];
            let statement = Statement::from_sql_and_values(self.backend(), &sql, values);
            let rows = self.reader.query_all_raw(statement).await?;
            for row in &rows {
                last = (
                    row.try_get("", "at")?,
                    row.try_get("", "user_id")?,
                    row.try_get("", "token_id")?,
                );
                found.push(SignOutRow {
                    user: last.1.parse().map_err(|e| StoreError::corrupt("sign-out", e))?,
                    token_id: (!last.2.is_empty()).then(|| last.2.clone()),
                    at: from_micros(last.0)?,
                });
            }
            if rows.len() < READ_AT_ONCE as usize {
                return Ok(found);
            }
        }
    }

    /// Removes some sign-outs from before `before`; whether there may be more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn remove_old_sign_outs(&self, before: OffsetDateTime) -> Result<bool, StoreError> {
        let sql = format!(
            "DELETE FROM sign_outs WHERE (user_id, token_id) IN (SELECT user_id, token_id \
             FROM sign_outs WHERE at < $1 ORDER BY at LIMIT {REMOVED_AT_ONCE}) AND at < $1"
        );
        let statement =
            Statement::from_sql_and_values(self.backend(), sql, [to_micros(before).into()]);
        let removed = self.writer.execute_raw(statement).await?.rows_affected();
        Ok(removed == u64::from(REMOVED_AT_ONCE))
    }
}
