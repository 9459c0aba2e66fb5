//! Removing rows for their age, a few at a time. The database lets go only of what is older than
//! the gate says, which is opened and closed in the transaction that removes.

use sea_orm::{ConnectionTrait, Statement};
use time::OffsetDateTime;

use super::reading::first_of;
use crate::instant::to_micros;
use crate::{Store, StoreError};

/// Rows that one transaction removes, at most.
pub(super) const BATCH: u64 = 500;

impl Store {
    /// Removes some of what was done before `before`, the oldest first: 500 rows at most. How many
    /// were removed; call it until that is 0.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: it can be tried again.
    pub async fn remove_old_audit(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let backend = self.backend();
        let statement = |sql: &str, values: Vec<sea_orm::Value>| {
            Statement::from_sql_and_values(backend, sql, values)
        };
        let (id, at) = (first_of(before), to_micros(before));
        // Nothing is locked where nothing is old.
        let oldest = "SELECT 1 FROM audit WHERE id < $1 AND at < $2 ORDER BY id LIMIT 1";
        let oldest = statement(oldest, vec![id.into(), at.into()]);
        if self.reader.query_one_raw(oldest).await?.is_none() {
            return Ok(0);
        }
        let transaction = self.writer.begin().await?;
        let open = statement("UPDATE audit_gate SET older_than = $1", vec![at.into()]);
        transaction.execute_raw(open).await?;
        let sql = format!(
            "DELETE FROM audit WHERE id IN \
             (SELECT id FROM audit WHERE id < $1 AND at < $2 ORDER BY id LIMIT {BATCH})"
        );
        let removed = transaction.execute_raw(statement(&sql, vec![id.into(), at.into()])).await?;
        transaction.execute_raw(statement("UPDATE audit_gate SET older_than = 0", vec![])).await?;
        transaction.commit().await?;
        Ok(removed.rows_affected())
    }
}
