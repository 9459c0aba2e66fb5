//! Webhooks: made, listed, changed, deleted; always of one user.

use std::collections::{BTreeMap, HashMap};

use domain::{EventType, ProjectId, Secret, UserId, Webhook, WebhookId};
use sea_orm::sea_query::{Expr, Func, LikeExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DatabaseBackend,
    DatabaseTransaction, EntityTrait, ExprTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement,
};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::entity::{webhook, webhook_day};
use crate::instant::{from_micros, now, to_micros};
use crate::keyring::{Keyring, Place};
use crate::{
    NewWebhook, Page, PageRequest, Store, StoreError, WebhookChange, WebhookFilter, WebhookStats,
    WebhookWithStats,
};

/// Days that count for a success rate, today included.
const RATE_DAYS: i32 = 7;

impl Store {
    /// Makes a webhook, unless its user has `limit` already (0: no limit).
    ///
    /// # Errors
    /// [`StoreError::LimitReached`]; of two that race for the last place one gets it.
    pub async fn create_webhook(&self, new: NewWebhook, limit: u64) -> Result<Webhook, StoreError> {
        let transaction = self.begin().await?;
        self.lock_user(&transaction, &new.user).await?;
        if limit > 0 {
            let count = webhook::Entity::find()
                .filter(webhook::Column::UserId.eq(new.user.as_str()))
                .count(&transaction)
                .await?;
            if count >= limit {
                return Err(StoreError::LimitReached(limit));
            }
        }
        let made = self.made(new);
        let row = self.row_of(&made)?;
        webhook::Entity::insert(row.into_active_model())
            .exec_without_returning(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(made)
    }

    /// The user's webhooks that pass `filter`, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn list_webhooks(
        &self,
        user: &UserId,
        filter: &WebhookFilter,
        page: PageRequest,
    ) -> Result<Page<WebhookWithStats>, StoreError> {
        let found = webhook::Entity::find()
            .filter(webhook::Column::UserId.eq(user.as_str()))
            .filter(condition(filter));
        let total = found.clone().count(self.connection()).await?;
        let rows = found
            .order_by_desc(webhook::Column::Id)
            .offset(page.page.saturating_sub(1).saturating_mul(page.limit))
            .limit(page.limit)
            .all(self.connection())
            .await?;
        let stats = self.stats(rows.iter().map(|row| row.id).collect()).await?;
        let items = rows
            .into_iter()
            .map(|row| {
                let stats = stats.get(&row.id).copied().unwrap_or_default();
                Ok(WebhookWithStats { webhook: webhook_of(&self.keyring, row)?, stats })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Page { items, total, total_capped: false })
    }

    /// One webhook of the user.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for another user's.
    pub async fn webhook(
        &self,
        user: &UserId,
        id: WebhookId,
    ) -> Result<WebhookWithStats, StoreError> {
        let row = find(self.connection(), user, id).await?;
        let stats = self.stats(vec![row.id]).await?.remove(&row.id).unwrap_or_default();
        Ok(WebhookWithStats { webhook: webhook_of(&self.keyring, row)?, stats })
    }

    /// Changes what `change` names; everything else stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for another user's.
    pub async fn update_webhook(
        &self,
        user: &UserId,
        id: WebhookId,
        change: WebhookChange,
    ) -> Result<Webhook, StoreError> {
        self.change(user, id, |webhook| apply(webhook, change)).await
    }

    /// Replaces the secret; the one before goes on signing until `keep_old_until`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for another user's.
    pub async fn rotate_secret(
        &self,
        user: &UserId,
        id: WebhookId,
        secret: Secret,
        keep_old_until: OffsetDateTime,
    ) -> Result<Webhook, StoreError> {
        self.change(user, id, |webhook| {
            let old = std::mem::replace(&mut webhook.secret, secret);
            webhook.previous_secret = (keep_old_until > now()).then_some((old, keep_old_until));
        })
        .await
    }

    /// Deletes a webhook and its secret; deliveries that have not ended are cancelled.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for another user's and the second time.
    pub async fn delete_webhook(&self, user: &UserId, id: WebhookId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let deleted = webhook::Entity::delete_many()
            .filter(webhook::Column::Id.eq(id.as_uuid()))
            .filter(webhook::Column::UserId.eq(user.as_str()))
            .exec(&transaction)
            .await?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::NotFound);
        }
        self.cancel_deliveries(&transaction, id).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The user's webhooks that receive events, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn active_webhooks(&self, user: &UserId) -> Result<Vec<Webhook>, StoreError> {
        let rows = webhook::Entity::find()
            .filter(webhook::Column::UserId.eq(user.as_str()))
            .filter(webhook::Column::Active.eq(true))
            .order_by_asc(webhook::Column::Id)
            .all(self.connection())
            .await?;
        rows.into_iter().map(|row| webhook_of(&self.keyring, row)).collect()
    }

    /// Switches a webhook off, with the reason that its user reads; false when it was off.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn disable_webhook(
        &self,
        id: WebhookId,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let changed = webhook::Entity::update_many()
            .col_expr(webhook::Column::Active, Expr::value(false))
            .col_expr(webhook::Column::DisabledReason, Expr::value(reason))
            .col_expr(webhook::Column::DisabledAt, Expr::value(to_micros(at)))
            .col_expr(webhook::Column::UpdatedAt, Expr::value(to_micros(at)))
            .filter(webhook::Column::Id.eq(id.as_uuid()))
            .filter(webhook::Column::Active.eq(true))
            .exec(self.connection())
            .await?;
        Ok(changed.rows_affected == 1)
    }

    fn made(&self, new: NewWebhook) -> Webhook {
        let at = now();
        Webhook {
            id: WebhookId::generate(),
            user: new.user,
            name: new.name,
            url: new.url,
            events: new.events,
            project_ids: new.project_ids,
            headers: new.headers,
            secret: new.secret,
            previous_secret: None,
            active: new.active,
            description: new.description,
            metadata: new.metadata,
            disabled_reason: None,
            disabled_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    /// Reads, changes and writes one row, with nobody in between.
    async fn change(
        &self,
        user: &UserId,
        id: WebhookId,
        change: impl FnOnce(&mut Webhook) + Send,
    ) -> Result<Webhook, StoreError> {
        let transaction = self.begin().await?;
        self.lock_user(&transaction, user).await?;
        let row = find(&transaction, user, id).await?;
        let mut webhook = webhook_of(&self.keyring, row)?;
        change(&mut webhook);
        // Later than before, even if the clock was set back.
        webhook.updated_at = Ord::max(now(), webhook.updated_at);
        let row = self.row_of(&webhook)?;
        row.into_active_model().reset_all().update(&transaction).await?;
        transaction.commit().await?;
        Ok(webhook)
    }

    /// Makes changes to one user's webhooks wait for each other. SQLite has one writer, but a
    /// transaction takes that place only with its first write.
    async fn lock_user(
        &self,
        transaction: &DatabaseTransaction,
        user: &UserId,
    ) -> Result<(), StoreError> {
        let statement = match self.backend() {
            DatabaseBackend::Postgres => Statement::from_sql_and_values(
                DatabaseBackend::Postgres,
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
                [user.as_str().into()],
            ),
            backend => Statement::from_string(backend, "DELETE FROM leases WHERE name = ''"),
        };
        transaction.execute_raw(statement).await?;
        Ok(())
    }

    async fn cancel_deliveries(
        &self,
        transaction: &DatabaseTransaction,
        id: WebhookId,
    ) -> Result<(), StoreError> {
        use crate::entity::delivery::{Column, Entity};
        use domain::DeliveryStatus;
        Entity::update_many()
            .col_expr(Column::Status, Expr::value(DeliveryStatus::Cancelled as i16))
            .col_expr(Column::NextAttemptAt, Expr::value(Option::<i64>::None))
            .filter(Column::WebhookId.eq(id.as_uuid()))
            .filter(Column::Status.lt(DeliveryStatus::Success as i16))
            .exec(transaction)
            .await?;
        Ok(())
    }

    fn row_of(&self, webhook: &Webhook) -> Result<webhook::Model, StoreError> {
        let row = webhook.id.as_uuid();
        let seal = |column, text: &str| self.keyring.seal(Place { row, column }, text.as_bytes());
        let previous = webhook.previous_secret.as_ref();
        let headers = to_json(&webhook.headers);
        Ok(webhook::Model {
            id: row,
            user_id: webhook.user.to_string(),
            name: webhook.name.clone(),
            url: webhook.url.clone(),
            events: to_json(&webhook.events),
            project_ids: to_json(&webhook.project_ids),
            headers: seal("headers", &headers),
            secret: seal("secret", webhook.secret.expose()),
            previous_secret: previous.map(|(old, _)| seal("previous_secret", old.expose())),
            previous_until: previous.map(|(_, until)| to_micros(*until)),
            active: webhook.active,
            description: webhook.description.clone(),
            metadata: to_json(&webhook.metadata),
            disabled_reason: webhook.disabled_reason.clone(),
            disabled_at: webhook.disabled_at.map(to_micros),
            created_at: to_micros(webhook.created_at),
            updated_at: to_micros(webhook.updated_at),
        })
    }

    async fn stats(&self, ids: Vec<Uuid>) -> Result<HashMap<Uuid, WebhookStats>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let today = i32::try_from(now().unix_timestamp() / 86_400).unwrap_or(i32::MAX);
        let days = webhook_day::Entity::find()
            .filter(webhook_day::Column::WebhookId.is_in(ids))
            .all(self.connection())
            .await?;
        let mut sums: HashMap<Uuid, (i64, i64, i64)> = HashMap::new();
        for day in days {
            let sum = sums.entry(day.webhook_id).or_default();
            if day.day > today - RATE_DAYS {
                sum.0 += day.succeeded;
                sum.1 += day.failed;
            }
            sum.2 = Ord::max(sum.2, day.last_triggered_at);
        }
        sums.into_iter().map(|(id, sum)| Ok((id, stats_of(sum)?))).collect()
    }
}

fn stats_of((succeeded, failed, last): (i64, i64, i64)) -> Result<WebhookStats, StoreError> {
    let ended = succeeded + failed;
    Ok(WebhookStats {
        last_triggered_at: Some(from_micros(last)?),
        success_rate: (ended > 0).then(|| succeeded as f64 / ended as f64),
    })
}

async fn find(
    db: &impl ConnectionTrait,
    user: &UserId,
    id: WebhookId,
) -> Result<webhook::Model, StoreError> {
    webhook::Entity::find_by_id(id.as_uuid())
        .filter(webhook::Column::UserId.eq(user.as_str()))
        .one(db)
        .await?
        .ok_or(StoreError::NotFound)
}

fn condition(filter: &WebhookFilter) -> Condition {
    let mut all = Condition::all();
    if let Some(active) = filter.active {
        all = all.add(webhook::Column::Active.eq(active));
    }
    if let Some(search) = &filter.search {
        let like = LikeExpr::new(format!("%{}%", escape_like(&search.to_lowercase()))).escape('\\');
        let lower = |column: webhook::Column| Expr::expr(Func::lower(Expr::col(column)));
        all = all.add(
            Condition::any()
                .add(lower(webhook::Column::Name).like(like.clone()))
                .add(lower(webhook::Column::Url).like(like)),
        );
    }
    if let Some(event) = filter.event {
        all = all.add(receives(event));
    }
    all
}

/// Webhooks whose `events`, a JSON list of texts without escapes, names the type.
fn receives(event: EventType) -> Condition {
    let family = event.as_str().split_once('.').map_or("", |(family, _)| family);
    [event.to_string(), format!("{family}.*"), "*".to_owned()]
        .iter()
        .map(|name| LikeExpr::new(format!("%\"{}\"%", escape_like(name))).escape('\\'))
        .fold(Condition::any(), |any, like| any.add(Expr::col(webhook::Column::Events).like(like)))
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn apply(webhook: &mut Webhook, change: WebhookChange) {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut webhook.name, change.name);
    set(&mut webhook.url, change.url);
    set(&mut webhook.events, change.events);
    set(&mut webhook.project_ids, change.project_ids);
    set(&mut webhook.headers, change.headers);
    set(&mut webhook.description, change.description);
    set(&mut webhook.metadata, change.metadata);
    if let Some(secret) = change.secret {
        webhook.secret = secret;
        webhook.previous_secret = None;
    }
    if let Some(active) = change.active {
        webhook.active = active;
        if active {
            (webhook.disabled_reason, webhook.disabled_at) = (None, None);
        }
    }
}

fn webhook_of(keyring: &Keyring, row: webhook::Model) -> Result<Webhook, StoreError> {
    let open = |column, sealed: &[u8]| {
        let plain = keyring.open(Place { row: row.id, column }, sealed)?;
        String::from_utf8(plain).map_err(|e| corrupt(&e))
    };
    let previous = match (&row.previous_secret, row.previous_until) {
        (Some(sealed), Some(until)) => {
            Some((Secret::new(open("previous_secret", sealed)?), from_micros(until)?))
        }
        _ => None,
    };
    let projects: Vec<String> = of_json(&row.project_ids)?;
    Ok(Webhook {
        id: WebhookId::from_uuid(row.id),
        user: row.user_id.parse().map_err(|e| corrupt(&e))?,
        events: of_json(&row.events)?,
        project_ids: projects
            .iter()
            .map(|id| id.parse::<ProjectId>())
            .collect::<Result<_, _>>()
            .map_err(|e| corrupt(&e))?,
        headers: of_json::<BTreeMap<String, String>>(&open("headers", &row.headers)?)?,
        secret: Secret::new(open("secret", &row.secret)?),
        previous_secret: previous,
        metadata: of_json(&row.metadata)?,
        name: row.name,
        url: row.url,
        active: row.active,
        description: row.description,
        disabled_reason: row.disabled_reason,
        disabled_at: row.disabled_at.map(from_micros).transpose()?,
        created_at: from_micros(row.created_at)?,
        updated_at: from_micros(row.updated_at)?,
    })
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts, lists and maps of texts are JSON")
}

fn of_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| corrupt(&e))
}

fn corrupt(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: "webhook", message: error.to_string() }
}
