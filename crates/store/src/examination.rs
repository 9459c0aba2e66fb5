//! What operators want to know of the database.

use sea_orm::{ConnectionTrait, DatabaseBackend, EntityTrait, QueryOrder, QuerySelect, Statement};
use time::{Duration, OffsetDateTime};

use crate::entity::webhook;
use crate::instant::from_micros;
use crate::webhook_row::webhook_of;
use crate::{Store, StoreError};

impl Store {
    /// How far the database's clock is ahead of this machine's; `None` where it has none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn clock_ahead(&self) -> Result<Option<Duration>, StoreError> {
        if self.backend() != DatabaseBackend::Postgres {
            return Ok(None);
        }
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS now";
        let statement = Statement::from_string(DatabaseBackend::Postgres, sql);
        // The first connects; the second is as quick as it gets.
        self.ping().await?;
        let before = OffsetDateTime::now_utc();
        let row = self.reader.query_one_raw(statement).await?.ok_or(StoreError::NotFound)?;
        let took = OffsetDateTime::now_utc() - before;
        Ok(Some(from_micros(row.try_get("", "now")?)? - (before + took / 2)))
    }

    /// Looks at the newest webhooks, `most` at most: how many there are, and how many of them no
    /// key opens.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn readable_webhooks(&self, most: u64) -> Result<(usize, usize), StoreError> {
        let rows = webhook::Entity::find()
            .order_by_desc(webhook::Column::Id)
            .limit(most)
            .all(&self.reader)
            .await?;
        let looked = rows.len();
        let closed = rows.into_iter().filter(|row| webhook_of(&self.keyring, row.clone()).is_err());
        Ok((looked, closed.count()))
    }
}
