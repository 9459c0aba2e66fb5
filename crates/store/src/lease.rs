//! Work that one process at a time does.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

use crate::instant::{now, to_micros};
use crate::{Store, StoreError};

impl Store {
    /// Takes or renews the lease `name` for `holder`, for `length` from now; false when another
    /// holder's has not ended.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn acquire_lease(
        &self,
        name: &str,
        holder: &str,
        length: Duration,
    ) -> Result<bool, StoreError> {
        let clock = self.clock();
        let sql = format!(
            "INSERT INTO leases (name, holder, until) VALUES ($1, $2, {clock} + $3) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
             WHERE leases.holder = excluded.holder OR leases.until <= {clock}"
        );
        let length = i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 2);
        let values = [name.into(), holder.into(), length.into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        Ok(self.writer.execute_raw(statement).await?.rows_affected() == 1)
    }

    /// The time in a statement, in microseconds since 1970. Holders are on different machines:
    /// the database's clock counts, where it has one.
    pub(crate) fn clock(&self) -> String {
        match self.backend() {
            DatabaseBackend::Postgres => {
                "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)".to_owned()
            }
            _ => to_micros(now()).to_string(),
        }
    }
}
