//! Webhooks that fail: told about, and switched off when nothing has got through for days. All
//! of it is written in the transaction of the outcomes, and nothing for those that succeed: when
//! a webhook last succeeded stands in its day, which is written anyway.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Cause, DeliveryStatus, Event, Notice, NoticeKind, UserId, WebhookId, whole_seconds};
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::Noted;
use crate::bulk::{self, Column, field, nullable};
use crate::instant::{from_micros, now, to_micros};
use crate::outcome_columns::triggered_at;
use crate::patience::Patient;
use crate::webhooks::disable;
use crate::{Act, Action, Deed, Outcome, Store, StoreError, audit, notices};

/// When a webhook is told to be failing, and when it is switched off.
#[derive(Clone, Copy, Debug)]
pub struct HealthRules {
    /// The attempt whose failure makes a webhook failing: the last but one.
    pub warning_attempt: u32,
    /// A webhook is switched off whose deliveries were exhausted over at least this time, with
    /// no success between; `None` never switches it off.
    pub disable_after: Option<Duration>,
}

/// A webhook is told to be failing this often, at most.
const TOLD_EVERY: i64 = 3_600_000_000;

/// Failing webhooks that are watched, at most.
const WATCHED: u32 = 10_000;

/// Why a webhook is switched off whose endpoint answers 410: its user reads it.
const GONE: &str = "the endpoint answered 410 Gone to every attempt of a delivery";

const STARTS_FAILING: &str = "ON CONFLICT (webhook_id) DO UPDATE SET \
     failing = 1, told_at = excluded.told_at \
     WHERE webhook_health.failing = 0 AND (webhook_health.told_at IS NULL \
         OR webhook_health.told_at <= excluded.told_at - ";

/// Whether the webhook succeeded since the first of the exhausted deliveries that count.
const SUCCEEDED_SINCE: &str = "(webhook_health.exhausted_since IS NULL OR EXISTS ( \
     SELECT 1 FROM webhook_days WHERE webhook_days.webhook_id = webhook_health.webhook_id \
     AND webhook_days.last_succeeded_at >= webhook_health.exhausted_since))";

type Transaction = Patient<DatabaseTransaction>;

/// What was exhausted of a webhook.
struct Exhausted<'a> {
    first: i64,
    last: i64,
    count: i32,
    user: &'a UserId,
}

impl Store {
    /// The webhooks that were told to be failing and have not recovered, 10,000 at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn failing_webhooks(&self) -> Result<Vec<WebhookId>, StoreError> {
        let sql =
            format!("SELECT webhook_id FROM webhook_health WHERE failing = 1 LIMIT {WATCHED}");
        let rows = self.reader.query_all_raw(Statement::from_string(self.backend(), sql)).await?;
        let ids = rows.iter().map(|row| row.try_get("", "webhook_id").map(WebhookId::from_uuid));
        Ok(ids.collect::<Result<_, DbErr>>()?)
    }

    /// The failing webhook took `event` in an attempt that began at `at`; the notice of it, if
    /// it was failing and nobody else has found out before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn webhook_recovered(
        &self,
        webhook: WebhookId,
        event: &Event,
        at: OffsetDateTime,
    ) -> Result<Option<Notice>, StoreError> {
        let transaction = self.writer.begin().await?;
        let sql = "UPDATE webhook_health SET failing = 0, exhausted_since = NULL, exhausted = 0 \
                   WHERE webhook_id = $1 AND failing = 1 AND told_at <= $2";
        let values = [webhook.as_uuid().into(), to_micros(at).into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        if transaction.execute_raw(statement).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let data = [("event_id", json!(event.id.as_str())), ("event", json!(event.kind.as_str()))];
        let notice = Notice::new(NoticeKind::WebhookRecovered, at, &event.user, webhook, data);
        notices::keep(&transaction, &notice).await?;
        transaction.commit().await?;
        Ok(Some(notice))
    }
}

/// What the attempts that were made, and failures without one, say about their webhooks: the notices of it, kept until they
/// are published where their kind is.
pub(crate) async fn judge(
    transaction: &Transaction,
    made: &[&Outcome],
    rules: &HealthRules,
) -> Result<(Vec<Notice>, Vec<Noted>), DbErr> {
    // A test says nothing of how deliveries go.
    let failed = |status| {
        let counts = move |o: &&Outcome| o.status == status && o.cause != Cause::Test;
        made.iter().copied().filter(counts)
    };
    let mut told = Vec::new();
    let warned = failed(DeliveryStatus::Retrying).filter(|o| o.attempt == rules.warning_attempt);
    let warned: BTreeMap<Uuid, &Outcome> = warned.map(|o| (o.webhook.as_uuid(), o)).collect();
    if !warned.is_empty() {
        let starting = start_failing(transaction, &warned).await?;
        told.extend(starting.into_iter().map(|o| about_delivery(NoticeKind::WebhookFailing, o)));
    }
    let exhausted: Vec<&Outcome> = failed(DeliveryStatus::Failed).collect();
    if !exhausted.is_empty() {
        told.extend(exhausted.iter().map(|o| about_delivery(NoticeKind::DeliveryExhausted, o)));
        told.extend(switch_off_gone(transaction, &exhausted).await?);
        told.extend(switch_off_dead(transaction, &exhausted, rules).await?);
    }
    for notice in told.iter().filter(|notice| notice.kind.is_kept()) {
        notices::keep(transaction, notice).await?;
    }
    let mut noted = Vec::new();
    for off in told.iter().filter(|notice| notice.kind == NoticeKind::WebhookDisabled) {
        let deed = Deed::on_webhook(Action::WebhookSwitchOff, &off.user, off.webhook);
        noted.push(audit::note(transaction, &Act::service(), &deed).await?);
    }
    Ok((told, noted))
}

fn about_delivery(kind: NoticeKind, outcome: &Outcome) -> Notice {
    let report = outcome.report.as_ref();
    let failure = report.and_then(|r| r.failure.as_ref()).map(|failure| failure.text.as_str());
    let error = failure.or(outcome.reason.as_deref());
    let data: [(_, Value); 6] = [
        ("delivery_id", json!(outcome.delivery.to_string())),
        ("event_id", json!(outcome.event.id.as_str())),
        ("event", json!(outcome.event.kind.as_str())),
        ("attempts", json!(outcome.attempt)),
        ("status_code", json!(report.and_then(|r| r.status))),
        ("error", json!(error)),
    ];
    Notice::new(kind, now(), &outcome.event.user, outcome.webhook, data)
}

/// Notes the webhooks as failing; gives back those that were not and are to be told.
async fn start_failing<'a>(
    transaction: &Transaction,
    warned: &BTreeMap<Uuid, &'a Outcome>,
) -> Result<Vec<&'a Outcome>, DbErr> {
    let fields = vec![
        field("webhook_id", Column::Uuid(warned.keys().copied().collect())),
        field("failing", Column::SmallInt(vec![1; warned.len()])),
        field("told_at", Column::BigInt(vec![to_micros(now()); warned.len()])),
        field("exhausted", Column::Int(vec![0; warned.len()])),
    ];
    let conflict = format!("{STARTS_FAILING}{TOLD_EVERY}) RETURNING webhook_id");
    let mut starting = Vec::new();
    for statement in health_rows(transaction, fields, &conflict) {
        for row in transaction.query_all_raw(statement).await? {
            let id: Uuid = row.try_get("", "webhook_id")?;
            starting.extend(warned.get(&id));
        }
    }
    Ok(starting)
}

fn health_rows(
    transaction: &Transaction,
    fields: Vec<bulk::Field>,
    conflict: &str,
) -> Vec<Statement> {
    bulk::insert(transaction.get_database_backend(), "webhook_health", fields, conflict)
}

/// Switches off webhooks that answered every attempt of a delivery with 410.
async fn switch_off_gone(
    transaction: &Transaction,
    exhausted: &[&Outcome],
) -> Result<Vec<Notice>, DbErr> {
    let status = |o: &Outcome| o.report.as_ref().and_then(|report| report.status);
    let mut told = Vec::new();
    for outcome in exhausted.iter().filter(|outcome| status(outcome) == Some(410)) {
        let sql = "SELECT COUNT(*) AS gone FROM attempts WHERE delivery_id = $1 \
                   AND status_code = 410";
        let values = [outcome.delivery.as_uuid().into()];
        let backend = transaction.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let row = transaction.query_one_raw(statement).await?;
        let gone: i64 = row.map_or(Ok(0), |row| row.try_get("", "gone"))?;
        if gone < i64::from(outcome.attempt) {
            continue;
        }
        if disable(transaction, outcome.webhook, GONE, now()).await? {
            let data = [
                ("code", json!("gone")),
                ("reason", json!(GONE)),
                ("delivery_id", json!(outcome.delivery.to_string())),
            ];
            told.push(disabled(outcome.webhook, &outcome.event.user, data));
        }
    }
    Ok(told)
}

/// Counts exhausted deliveries; switches off the webhooks of which nothing else has been seen
/// for too long.
async fn switch_off_dead(
    transaction: &Transaction,
    exhausted: &[&Outcome],
    rules: &HealthRules,
) -> Result<Vec<Notice>, DbErr> {
    let mut by_webhook: BTreeMap<Uuid, Exhausted<'_>> = BTreeMap::new();
    for outcome in exhausted {
        let at = triggered_at(outcome);
        let sums = by_webhook.entry(outcome.webhook.as_uuid()).or_insert(Exhausted {
            first: at,
            last: at,
            count: 0,
            user: &outcome.event.user,
        });
        (sums.first, sums.last) = (sums.first.min(at), sums.last.max(at));
        sums.count += 1;
    }
    let all = || by_webhook.values();
    let fields = vec![
        field("webhook_id", Column::Uuid(by_webhook.keys().copied().collect())),
        field("failing", Column::SmallInt(vec![0; by_webhook.len()])),
        nullable("exhausted_since", Column::BigInt(all().map(|sums| sums.first).collect())),
        field("exhausted", Column::Int(all().map(|sums| sums.count).collect())),
    ];
    let conflict = format!(
        "ON CONFLICT (webhook_id) DO UPDATE SET \
         exhausted_since = CASE WHEN {SUCCEEDED_SINCE} \
             THEN excluded.exhausted_since ELSE webhook_health.exhausted_since END, \
         exhausted = CASE WHEN {SUCCEEDED_SINCE} \
             THEN excluded.exhausted ELSE webhook_health.exhausted + excluded.exhausted END \
         RETURNING webhook_id, exhausted_since, exhausted"
    );
    let mut told = Vec::new();
    for statement in health_rows(transaction, fields, &conflict) {
        for row in transaction.query_all_raw(statement).await? {
            let id: Uuid = row.try_get("", "webhook_id")?;
            let since: i64 = row.try_get("", "exhausted_since")?;
            let count: i32 = row.try_get("", "exhausted")?;
            let (Some(sums), Some(after)) = (by_webhook.get(&id), rules.disable_after) else {
                continue;
            };
            let dead = u128::try_from(sums.last - since).is_ok_and(|us| us >= after.as_micros());
            if !dead {
                continue;
            }
            let since =
                whole_seconds(from_micros(since).map_err(|e| DbErr::Custom(e.to_string()))?);
            let reason = format!(
                "every delivery since {since} failed in every attempt ({count} deliveries)"
            );
            let webhook = WebhookId::from_uuid(id);
            if disable(transaction, webhook, &reason, now()).await? {
                let data = [
                    ("code", json!("failing")),
                    ("reason", json!(reason)),
                    ("failing_since", json!(since)),
                    ("exhausted", json!(count)),
                ];
                told.push(disabled(webhook, sums.user, data));
            }
        }
    }
    Ok(told)
}

fn disabled(
    webhook: WebhookId,
    user: &UserId,
    data: impl IntoIterator<Item = (&'static str, Value)>,
) -> Notice {
    Notice::new(NoticeKind::WebhookDisabled, now(), user, webhook, data)
}

/// Locks the webhook's health before its row, as those do who judge: nobody waits in a circle.
pub(crate) async fn lock(transaction: &Transaction, webhook: WebhookId) -> Result<(), DbErr> {
    if transaction.get_database_backend() != DatabaseBackend::Postgres {
        return Ok(());
    }
    let sql = "SELECT 1 FROM webhook_health WHERE webhook_id = $1 FOR UPDATE";
    let values = [webhook.as_uuid().into()];
    let statement = Statement::from_sql_and_values(DatabaseBackend::Postgres, sql, values);
    transaction.query_one_raw(statement).await.map(drop)
}

/// Begins anew: what was counted belongs to an endpoint that was switched on again or replaced.
pub(crate) async fn forget(transaction: &Transaction, webhook: WebhookId) -> Result<(), DbErr> {
    let sql = "DELETE FROM webhook_health WHERE webhook_id = $1";
    let values = [webhook.as_uuid().into()];
    let backend = transaction.get_database_backend();
    transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.map(drop)
}
