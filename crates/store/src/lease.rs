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
        let (start, end) = (to_micros(now()), to_micros(now() + length));
        let marks = match self.backend() {
            DatabaseBackend::Postgres => ["$1", "$2", "$3", "$4"],
            _ => ["?1", "?2", "?3", "?4"],
        };
        let [a, b, c, d] = marks;
        let sql = format!(
            "INSERT INTO leases (name, holder, until) VALUES ({a}, {b}, {c}) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
             WHERE leases.holder = excluded.holder OR leases.until <= {d}"
        );
        let values = [name.into(), holder.into(), end.into(), start.into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        Ok(self.connection().execute_raw(statement).await?.rows_affected() == 1)
    }
}
