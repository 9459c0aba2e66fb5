//! Notices that are not published yet. They are written with the change that they tell of, so
//! that neither is there without the other.

use std::time::Duration;

use domain::{Notice, NoticeId, NoticeKind, WebhookId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};

use crate::instant::{now, to_micros};
use crate::{Store, StoreError, bulk};

impl Store {
    /// Notices that were kept longer than `age` ago and are not published, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn untold_notices(
        &self,
        age: Duration,
        limit: u32,
    ) -> Result<Vec<Notice>, StoreError> {
        let sql = format!(
            "SELECT id, user_id, webhook_id, kind, body FROM notices WHERE created_at <= $1 \
             ORDER BY created_at, id LIMIT {limit}"
        );
        let values = [to_micros(now() - age).into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let rows = self.reader.query_all_raw(statement).await?;
        rows.iter().map(notice_of).collect()
    }

    /// These were published.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn told(&self, ids: &[NoticeId]) -> Result<(), StoreError> {
        let ids = ids.iter().map(NoticeId::as_uuid).collect();
        let (among, values) = bulk::among(self.backend(), ids, 1);
        let sql = format!("DELETE FROM notices WHERE id {among}");
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.writer.execute_raw(statement).await?;
        Ok(())
    }
}

/// Keeps the notice until it is published.
pub(crate) async fn keep(connection: &impl ConnectionTrait, notice: &Notice) -> Result<(), DbErr> {
    let sql = "INSERT INTO notices (id, user_id, webhook_id, kind, body, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [
        notice.id.as_uuid().into(),
        notice.user.as_str().into(),
        notice.webhook.as_uuid().into(),
        notice.kind.as_str().into(),
        notice.body.as_str().into(),
        to_micros(now()).into(),
    ];
    let backend = connection.get_database_backend();
    connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.map(drop)
}

fn notice_of(row: &QueryResult) -> Result<Notice, StoreError> {
    let kind: String = row.try_get("", "kind")?;
    let user: String = row.try_get("", "user_id")?;
    Ok(Notice {
        id: NoticeId::from_uuid(row.try_get("", "id")?),
        user: user.parse().map_err(|e| StoreError::corrupt("notice", e))?,
        webhook: WebhookId::from_uuid(row.try_get("", "webhook_id")?),
        kind: NoticeKind::of(&kind).ok_or_else(|| StoreError::corrupt("notice", &kind))?,
        body: row.try_get("", "body")?,
    })
}
