//! What the trail says of a user who is erased: rows about their objects go; of what they did to
//! the objects of others only the deed stays, done by `an erased user`, which is no user's id: ids
//! have no spaces. That they were erased stays.

use domain::UserId;
use sea_orm::{ConnectionTrait, Statement, Value};

use super::removal::BATCH;
use super::{Action, Deed, ObjectKind, Via, note};
use crate::{Store, StoreError};

impl Store {
    /// Erases what the trail says of `user`; gives back how many rows were removed or changed.
    pub(crate) async fn erase_audit_of(&self, user: &UserId) -> Result<u64, StoreError> {
        let kept = Action::UserErase.as_str();
        let theirs = format!(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit \
             WHERE user_id = $1 AND action <> '{kept}' ORDER BY id LIMIT {BATCH})"
        );
        let by_them = format!(
            "UPDATE audit SET actor = 'an erased user', token_id = NULL, address = NULL, \
             request_id = NULL WHERE id IN (SELECT id FROM audit WHERE actor = $1 AND via = {} \
             ORDER BY id LIMIT {BATCH})",
            Via::Api as i16
        );
        let mut erased = 0;
        for sql in [theirs, by_them] {
            loop {
                let done = self.behind_the_gate(user, &sql).await?;
                erased += done;
                if done == 0 {
                    break;
                }
            }
        }
        Ok(erased)
    }

    async fn behind_the_gate(&self, user: &UserId, sql: &str) -> Result<u64, StoreError> {
        let value = || -> [Value; 1] { [user.as_str().into()] };
        let statement = |sql| Statement::from_sql_and_values(self.backend(), sql, value());
        let transaction = self.writer.begin().await?;
        transaction.execute_raw(statement("UPDATE audit_gate SET user_id = $1")).await?;
        let done = transaction.execute_raw(statement(sql)).await?;
        transaction.execute_unprepared("UPDATE audit_gate SET user_id = NULL").await?;
        transaction.commit().await?;
        Ok(done.rows_affected())
    }

    /// Notes that `user` was erased: the one row about them that stays.
    pub(crate) async fn note_erasure(&self, user: &UserId) -> Result<(), StoreError> {
        let deed = Deed::of(Action::UserErase, ObjectKind::User, user.as_str()).belonging_to(user);
        note(&self.writer, &self.act, &deed).await?.log();
        Ok(())
    }
}
