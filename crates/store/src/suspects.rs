//! Marks on messages that may end whoever works on them: set before, removed once it is known
//! that the process lives. What a process leaves behind counts against the message.

use sea_orm::{ConnectionTrait, Statement};
use uuid::Uuid;

use crate::{Store, StoreError};

impl Store {
    /// Marks the message `key` once more; gives back how many marks it has now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn mark_suspect(&self, key: Uuid) -> Result<u32, StoreError> {
        let clock = self.clock();
        let sql = format!(
            "INSERT INTO suspects (id, marks, marked_at) VALUES ($1, 1, {clock}) \
             ON CONFLICT (id) DO UPDATE SET marks = suspects.marks + 1, \
             marked_at = excluded.marked_at RETURNING marks"
        );
        let statement = Statement::from_sql_and_values(self.backend(), sql, [key.into()]);
        let row = self.writer.query_one_raw(statement).await?;
        let marks = row.map_or(Ok(1), |row| row.try_get::<i32>("", "marks"))?;
        Ok(u32::try_from(marks).unwrap_or(0))
    }

    /// Removes all marks of the message `key`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn clear_suspect(&self, key: Uuid) -> Result<(), StoreError> {
        let sql = "DELETE FROM suspects WHERE id = $1";
        let statement = Statement::from_sql_and_values(self.backend(), sql, [key.into()]);
        self.writer.execute_raw(statement).await?;
        Ok(())
    }

    /// Removes the marks last set before `before` (microseconds): of messages that are gone.
    pub(crate) async fn forget_suspects(&self, before: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM suspects WHERE marked_at < $1";
        let statement = Statement::from_sql_and_values(self.backend(), sql, [before.into()]);
        self.writer.execute_raw(statement).await?;
        Ok(())
    }
}
