//! Webhooks: made, listed, changed, deleted; always of one user.

use domain::{
    DeliveryStatus, EventType, Secret, SigningScheme, UserId, Webhook, WebhookId, leads_elsewhere,
};
use sea_orm::sea_query::{Expr, Func, LikeExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DatabaseBackend,
    DatabaseTransaction, DbErr, EntityTrait, ExprTrait, FromQueryResult, IntoActiveModel,
    PaginatorTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait, Select,
    Statement,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::Noted;
use crate::counting::{Seen, total};
use crate::entity::{delivery, job, webhook, webhook_day};
use crate::error::is_conflict;
use crate::instant::{now, to_micros};
use crate::outcome_columns::storable;
use crate::patience::Patient;
use crate::statistics::{statistics_of, with_statistics};
use crate::webhook_change::{apply, asks_otherwise, new_signing_key};
use crate::webhook_row::{row_of, webhook_of};
use crate::{
    Action, Deed, NewWebhook, Page, PageRequest, Store, StoreError, Updated, WebhookChange,
    WebhookFilter, WebhookWithStats, audit, health,
};

/// Deliveries that one statement cancels, at most: a deletion must not hold locks for long.
const CANCELLED_AT_ONCE: u64 = 2_000;

impl Store {
    /// Makes a webhook, unless its user has `limit` already (0: no limit).
    ///
    /// # Errors
    /// [`StoreError::LimitReached`]; of two that race for the last place one gets it.
    pub async fn create_webhook(&self, new: NewWebhook, limit: u64) -> Result<Webhook, StoreError> {
        self.create_webhook_once(WebhookId::generate(), new, limit).await
    }

    /// Makes the webhook `id`, as [`Store::create_webhook`] does; gives back the one there is
    /// when it was made before.
    ///
    /// # Errors
    /// [`StoreError::LimitReached`].
    pub async fn create_webhook_once(
        &self,
        id: WebhookId,
        new: NewWebhook,
        limit: u64,
    ) -> Result<Webhook, StoreError> {
        let made = made(id, new);
        let row = row_of(&self.keyring, &made)?;
        let transaction = self.writer.begin().await?;
        lock_user(&transaction, &made.user).await?;
        if let Some(before) = one_of(&made.user, id).one(&transaction).await? {
            return webhook_of(&self.keyring, before);
        }
        let owned = webhook::Entity::find().filter(owner(&made.user));
        if limit > 0 && owned.count(&transaction).await? >= limit {
            return Err(StoreError::LimitReached(limit));
        }
        webhook::Entity::insert(row.into_active_model())
            .exec_without_returning(&transaction)
            .await?;
        let deed = Deed::on_webhook(Action::WebhookCreate, &made.user, id);
        let noted = audit::note(&transaction, &self.act, &deed).await?;
        transaction.commit().await?;
        noted.log();
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
        // NUL is in no stored text, and PostgreSQL refuses to look for it.
        if filter.search.as_ref().is_some_and(|search| search.contains('\0')) {
            return Ok(Page { items: Vec::new(), total: 0, total_capped: false, more: false });
        }
        let found = webhook::Entity::find().filter(owner(user)).filter(condition(filter));
        let list = found.clone();
        let found = match filter.after {
            None => found.offset(page.offset()),
            Some(last) => found.filter(webhook::Column::Id.lt(last.as_uuid())),
        };
        let rows = found.order_by_desc(webhook::Column::Id).limit(page.rows() + 1);
        let (items, more) = page.cut(self.with_stats(rows).await?);
        let before = filter.after.is_none().then(|| page.offset());
        let seen = Seen { before, rows: items.len(), more };
        let (total, total_capped) = total(&self.reader, list, seen).await?;
        Ok(Page { items, total, total_capped, more })
    }

    /// The ids of the user's webhooks.
    pub(crate) async fn webhook_ids(&self, user: &UserId) -> Result<Vec<WebhookId>, StoreError> {
        let found = webhook::Entity::find().select_only().column(webhook::Column::Id);
        let ids: Vec<Uuid> = found.filter(owner(user)).into_tuple().all(&self.reader).await?;
        Ok(ids.into_iter().map(WebhookId::from_uuid).collect())
    }

    /// The webhooks that `found` finds, each with its statistics.
    async fn with_stats(
        &self,
        found: Select<webhook::Entity>,
    ) -> Result<Vec<WebhookWithStats>, StoreError> {
        let statement = with_statistics(found).build(self.backend());
        let rows = self.reader.query_all_raw(statement).await?;
        let read = |row: QueryResult| {
            let stats = statistics_of(&row)?;
            let webhook = webhook::Model::from_query_result(&row, "")?;
            Ok(WebhookWithStats { webhook: webhook_of(&self.keyring, webhook)?, stats })
        };
        rows.into_iter().map(read).collect()
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
        self.with_stats(one_of(user, id)).await?.pop().ok_or(StoreError::NotFound)
    }

    /// A webhook of any user, active or not; `None` when it was deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn find_webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        let row = webhook::Entity::find_by_id(id.as_uuid()).one(&self.reader).await?;
        row.map(|row| webhook_of(&self.keyring, row)).transpose()
    }

    /// Changes what `change` names; everything else stays as it is. Only when the URL leads
    /// elsewhere, headers that are hidden and were not given again are removed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for another user's; [`StoreError::Headers`].
    pub async fn update_webhook(
        &self,
        user: &UserId,
        id: WebhookId,
        change: WebhookChange,
    ) -> Result<Updated, StoreError> {
        let mut removed_headers = Vec::new();
        let webhook = self
            .change(user, id, Action::WebhookUpdate, |webhook| {
                removed_headers = apply(webhook, change)?;
                Ok(())
            })
            .await?;
        Ok(Updated { webhook, removed_headers })
    }

    /// The endpoint of `asked` proved that it wants to be told. That counts for the URL's host
    /// and the secret that it was asked with: `None`, and the webhook is as it was, when one of
    /// them has changed since.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it was deleted meanwhile.
    pub async fn endpoint_proved(&self, asked: &Webhook) -> Result<Option<Webhook>, StoreError> {
        let mut stale = false;
        let prove = |webhook: &mut Webhook| {
            stale = webhook.secret.expose() != asked.secret.expose()
                || leads_elsewhere(&asked.url, &webhook.url)
                || webhook.pending_since != asked.pending_since;
            if stale {
                return Err(StoreError::NotFound);
            }
            (webhook.pending_since, webhook.verified_at) = (None, Some(now()));
            Ok(())
        };
        match self.change(&asked.user, asked.id, Action::WebhookVerify, prove).await {
            Err(StoreError::NotFound) if stale => Ok(None),
            proved => proved.map(Some),
        }
    }

    /// Replaces the secret, and the signing key where there is one; those before go on signing
    /// until `keep_old_until`.
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
        self.change(user, id, Action::WebhookRotateSecret, |webhook| {
            let old = std::mem::replace(&mut webhook.secret, secret);
            let keep = keep_old_until > now();
            webhook.previous_secret = keep.then_some((old, keep_old_until));
            let new_key = webhook.signing_key.as_ref().map(|_| new_signing_key());
            let old_key = std::mem::replace(&mut webhook.signing_key, new_key);
            webhook.previous_signing_key = old_key.filter(|_| keep);
            Ok(())
        })
        .await
    }

    /// Deletes a webhook and its secret; deliveries that have not ended are cancelled.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for another user's and the second time.
    pub async fn delete_webhook(&self, user: &UserId, id: WebhookId) -> Result<(), StoreError> {
        let deleted = match self.try_delete(user, id).await {
            Err(error) if is_conflict(&error) => self.try_delete(user, id).await?,
            other => other?,
        };
        if !deleted {
            return Err(StoreError::NotFound);
        }
        // The dispatcher cancels by itself what is left when this fails, once it meets it.
        while cancel_some(&self.writer, id).await? == CANCELLED_AT_ONCE {}
        Ok(())
    }

    /// The user's webhooks that receive events, oldest first: neither those that are switched off
    /// nor those whose endpoints have not proved yet that they want to be told.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn active_webhooks(&self, user: &UserId) -> Result<Vec<Webhook>, StoreError> {
        let rows = webhook::Entity::find()
            .filter(owner(user))
            .filter(webhook::Column::Active.eq(true))
            .filter(webhook::Column::PendingSince.is_null())
            .order_by_asc(webhook::Column::Id)
            .all(&self.reader)
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
        let transaction = self.writer.begin().await?;
        let off = disable(&transaction, id, reason, at).await?;
        let noted = match webhook::Entity::find_by_id(id.as_uuid()).one(&transaction).await? {
            Some(row) if off => {
                let user = row.user_id.parse().map_err(|e| StoreError::corrupt("webhook", e))?;
                let deed = Deed::on_webhook(Action::WebhookSwitchOff, &user, id);
                Some(audit::note(&transaction, &self.act, &deed).await?)
            }
            _ => None,
        };
        transaction.commit().await?;
        noted.into_iter().for_each(Noted::log);
        Ok(off)
    }

    /// Reads, changes and writes one row, with nobody in between.
    async fn change(
        &self,
        user: &UserId,
        id: WebhookId,
        action: Action,
        change: impl FnOnce(&mut Webhook) -> Result<(), StoreError> + Send,
    ) -> Result<Webhook, StoreError> {
        let transaction = self.writer.begin().await?;
        health::lock(&transaction, id).await?;
        let row = one_of(user, id).lock_exclusive().one(&transaction).await?;
        let mut webhook = webhook_of(&self.keyring, row.ok_or(StoreError::NotFound)?)?;
        let before = webhook.clone();
        change(&mut webhook)?;
        if (webhook.active && !before.active) || webhook.url != before.url {
            health::forget(&transaction, id).await?;
        }
        // Never before the last change, even if the clock was set back.
        webhook.updated_at = Ord::max(now(), webhook.updated_at);
        if asks_otherwise(&before, &webhook) {
            webhook.request_changed_at = Some(webhook.updated_at);
        }
        let row = row_of(&self.keyring, &webhook)?;
        row.into_active_model().reset_all().update(&transaction).await?;
        let deed = Deed::on_webhook(action, user, id).fields(audit::changed(&before, &webhook));
        let noted = audit::note(&transaction, &self.act, &deed).await?;
        transaction.commit().await?;
        noted.log();
        Ok(webhook)
    }

    async fn try_delete(&self, user: &UserId, id: WebhookId) -> Result<bool, DbErr> {
        let transaction = self.writer.begin().await?;
        health::forget(&transaction, id).await?;
        let deleted = webhook::Entity::delete_many()
            .filter(webhook::Column::Id.eq(id.as_uuid()))
            .filter(owner(user))
            .exec(&transaction)
            .await?;
        if deleted.rows_affected == 0 {
            return Ok(false);
        }
        cancel_some(&transaction, id).await?;
        webhook_day::Entity::delete_many()
            .filter(webhook_day::Column::WebhookId.eq(id.as_uuid()))
            .exec(&transaction)
            .await?;
        job::Entity::delete_many()
            .filter(job::Column::WebhookId.eq(id.as_uuid()))
            .exec(&transaction)
            .await?;
        let deed = Deed::on_webhook(Action::WebhookDelete, user, id);
        let noted = audit::note(&transaction, &self.act, &deed).await?;
        transaction.commit().await?;
        noted.log();
        Ok(true)
    }
}

fn made(id: WebhookId, new: NewWebhook) -> Webhook {
    let at = now();
    Webhook {
        id,
        user: new.user,
        name: new.name,
        url: new.url,
        events: new.events,
        project_ids: new.project_ids,
        filter: new.filter.map(|filter| filter.as_str().to_owned()),
        rate_limit: new.rate_limit,
        ordered: new.ordered,
        headers: new.headers,
        secret: new.secret,
        previous_secret: None,
        signing_key: (new.signing == SigningScheme::Ed25519).then(new_signing_key),
        previous_signing_key: None,
        active: new.active,
        description: new.description,
        metadata: new.metadata,
        disabled_reason: None,
        disabled_at: None,
        created_at: at,
        updated_at: at,
        request_changed_at: None,
        pending_since: new.must_verify.then_some(at),
        verified_at: None,
    }
}

fn owner(user: &UserId) -> Expr {
    webhook::Column::UserId.eq(user.as_str())
}

fn one_of(user: &UserId, id: WebhookId) -> Select<webhook::Entity> {
    webhook::Entity::find_by_id(id.as_uuid()).filter(owner(user))
}

/// Switches a webhook off; false when it was off.
pub(crate) async fn disable(
    connection: &impl ConnectionTrait,
    id: WebhookId,
    reason: &str,
    at: OffsetDateTime,
) -> Result<bool, DbErr> {
    let changed = webhook::Entity::update_many()
        .col_expr(webhook::Column::Active, Expr::value(false))
        .col_expr(webhook::Column::DisabledReason, Expr::value(storable(reason)))
        .col_expr(webhook::Column::DisabledAt, Expr::value(to_micros(at)))
        .col_expr(webhook::Column::UpdatedAt, Expr::value(to_micros(at)))
        .filter(webhook::Column::Id.eq(id.as_uuid()))
        .filter(webhook::Column::Active.eq(true))
        .exec(connection)
        .await?;
    Ok(changed.rows_affected == 1)
}

/// Makes those who create webhooks for one user wait for each other; on SQLite they do anyway.
pub(crate) async fn lock_user(
    transaction: &Patient<DatabaseTransaction>,
    user: &UserId,
) -> Result<(), DbErr> {
    if transaction.get_database_backend() != DatabaseBackend::Postgres {
        return Ok(());
    }
    let statement = Statement::from_sql_and_values(
        DatabaseBackend::Postgres,
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        [user.as_str().into()],
    );
    transaction.execute_raw(statement).await.map(drop)
}

/// Cancels deliveries of the webhook that have not ended; gives back how many.
async fn cancel_some(connection: &impl ConnectionTrait, id: WebhookId) -> Result<u64, DbErr> {
    use delivery::Column;
    let unfinished = [DeliveryStatus::Pending as i16, DeliveryStatus::Retrying as i16];
    // Locked in the order in which outcomes are recorded.
    let some = delivery::Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(delivery::undelivered())
        .filter(Column::WebhookId.eq(id.as_uuid()))
        .filter(Column::Status.is_in(unfinished))
        .order_by_asc(Column::Id)
        .limit(CANCELLED_AT_ONCE)
        .lock_exclusive();
    let cancelled = delivery::Entity::update_many()
        .col_expr(Column::Status, Expr::value(DeliveryStatus::Cancelled as i16))
        .col_expr(Column::NextAttemptAt, Expr::value(Option::<i64>::None))
        .col_expr(Column::WaitingAt, Expr::value(Option::<i64>::None))
        .col_expr(Column::PartitionKey, Expr::value(Option::<i64>::None))
        .col_expr(Column::Parked, Expr::value(Option::<i16>::None))
        .filter(Column::Id.in_subquery(some.into_query()))
        .exec(connection)
        .await?;
    Ok(cancelled.rows_affected)
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
