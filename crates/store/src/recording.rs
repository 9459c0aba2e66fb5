//! Outcomes of attempts, many in one transaction. Writing the same twice changes nothing, a
//! delivery only moves forward, and the first claim of an attempt's number stands.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{AttemptReport, Cause, DeliveryId, DeliveryStatus};
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Statement};
use uuid::Uuid;

use crate::bulk::{self, Column, field, nullable};
use crate::instant::{from_micros, now, to_micros};
use crate::{DeliveryProgress, Outcome, Store, StoreError};

/// Rows of one statement, at most.
const CHUNK: usize = 500;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// What an attempt may change: a delivery that has not ended and has fewer attempts.
const AFTER_ATTEMPT: &str = "ON CONFLICT (id) DO UPDATE SET \
     status = excluded.status, attempts = excluded.attempts, \
     status_code = excluded.status_code, error = excluded.error, \
     response_time_ms = excluded.response_time_ms, next_attempt_at = excluded.next_attempt_at, \
     triggered_at = CASE WHEN deliveries.attempts = 0 THEN excluded.triggered_at \
                         ELSE deliveries.triggered_at END \
     WHERE deliveries.status < 2 AND deliveries.attempts < excluded.attempts \
     RETURNING id";

/// What a deferral or a cancellation may change: where a delivery that has not ended stands.
const WITHOUT_ATTEMPT: &str = "ON CONFLICT (id) DO UPDATE SET \
     status = excluded.status, next_attempt_at = excluded.next_attempt_at \
     WHERE deliveries.status < 2 AND deliveries.attempts <= excluded.attempts \
     RETURNING id";

const ADD_TO_DAY: &str = "ON CONFLICT (webhook_id, day) DO UPDATE SET \
     succeeded = webhook_days.succeeded + excluded.succeeded, \
     failed = webhook_days.failed + excluded.failed, \
     last_triggered_at = CASE WHEN excluded.last_triggered_at > webhook_days.last_triggered_at \
                              THEN excluded.last_triggered_at \
                              ELSE webhook_days.last_triggered_at END";

impl Store {
    /// Records `outcomes` in one transaction: the events, the deliveries, the attempts, the
    /// statistics. The same outcomes again change nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: nothing, or everything, was
    /// recorded; record the same again.
    pub async fn record(&self, outcomes: &[Outcome]) -> Result<(), StoreError> {
        for chunk in outcomes.chunks(CHUNK) {
            let transaction = self.begin().await?;
            self.record_events(&transaction, chunk).await?;
            for round in rounds(chunk) {
                self.record_round(&transaction, &round).await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    /// How far these deliveries have come; those that are not recorded are left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away.
    pub async fn progress(
        &self,
        ids: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, DeliveryProgress>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let rows = self.connection().query_all_raw(self.progress_query(chunk)).await?;
            for row in rows {
                let id: Uuid = row.try_get("", "id")?;
                found.insert(DeliveryId::from_uuid(id), progress_of(&row)?);
            }
        }
        Ok(found)
    }

    fn progress_query(&self, ids: &[DeliveryId]) -> Statement {
        let mark = |i: usize| match self.backend() {
            sea_orm::DatabaseBackend::Postgres => format!("${}", i + 1),
            _ => "?".to_owned(),
        };
        let marks: Vec<String> = (0..ids.len()).map(mark).collect();
        let sql = format!(
            "SELECT id, status, attempts, next_attempt_at FROM deliveries WHERE id IN ({})",
            marks.join(", ")
        );
        Statement::from_sql_and_values(
            self.backend(),
            sql,
            ids.iter().map(|id| id.as_uuid().into()),
        )
    }

    async fn record_events(
        &self,
        transaction: &DatabaseTransaction,
        outcomes: &[Outcome],
    ) -> Result<(), StoreError> {
        // Sorted, here and below, so that two dispatchers lock rows in one order.
        let events: BTreeMap<Uuid, _> =
            outcomes.iter().map(|o| (o.event.key().0, &o.event)).collect();
        let created_at = to_micros(now());
        let all = || events.values();
        let fields = vec![
            field("key", Column::Uuid(events.keys().copied().collect())),
            field("user_id", Column::Text(all().map(|e| e.user.to_string()).collect())),
            field("event_id", Column::Text(all().map(|e| e.id.to_string()).collect())),
            field("kind", Column::Text(all().map(|e| e.kind.to_string()).collect())),
            field("created_at", Column::BigInt(vec![created_at; events.len()])),
            field("payload", Column::Bytes(all().map(|e| e.payload.to_vec()).collect())),
        ];
        let conflict = "ON CONFLICT (key) DO NOTHING";
        let statement = bulk::insert(self.backend(), "events", fields, conflict);
        transaction.execute_raw(statement).await?;
        Ok(())
    }

    /// Records outcomes of different deliveries.
    async fn record_round(
        &self,
        transaction: &DatabaseTransaction,
        outcomes: &[&Outcome],
    ) -> Result<(), StoreError> {
        let (attempted, others): (Vec<&Outcome>, Vec<&Outcome>) =
            outcomes.iter().partition(|outcome| outcome.report.is_some());
        let mut moved = HashSet::new();
        for (part, conflict) in [(&attempted, AFTER_ATTEMPT), (&others, WITHOUT_ATTEMPT)] {
            if part.is_empty() {
                continue;
            }
            let statement =
                bulk::insert(self.backend(), "deliveries", delivery_fields(part), conflict);
            for row in transaction.query_all_raw(statement).await? {
                moved.insert(row.try_get::<Uuid>("", "id")?);
            }
        }
        if attempted.is_empty() {
            return Ok(());
        }
        let conflict = "ON CONFLICT (delivery_id, number) DO NOTHING";
        let statement =
            bulk::insert(self.backend(), "attempts", attempt_fields(&attempted), conflict);
        transaction.execute_raw(statement).await?;
        self.add_to_days(transaction, &attempted, &moved).await
    }

    async fn add_to_days(
        &self,
        transaction: &DatabaseTransaction,
        attempted: &[&Outcome],
        moved: &HashSet<Uuid>,
    ) -> Result<(), StoreError> {
        let mut days: BTreeMap<(Uuid, i32), (i64, i64, i64)> = BTreeMap::new();
        for outcome in attempted.iter().filter(|o| moved.contains(&o.delivery.as_uuid())) {
            let at = triggered_at(outcome);
            let day = i32::try_from(at / DAY).unwrap_or(i32::MAX);
            let counts = days.entry((outcome.webhook.as_uuid(), day)).or_default();
            // A test says nothing of how deliveries go.
            let counted = i64::from(outcome.cause != Cause::Test);
            match outcome.status {
                DeliveryStatus::Success => counts.0 += counted,
                DeliveryStatus::Failed => counts.1 += counted,
                _ => {}
            }
            counts.2 = counts.2.max(at);
        }
        if days.is_empty() {
            return Ok(());
        }
        let fields = vec![
            field("webhook_id", Column::Uuid(days.keys().map(|(id, _)| *id).collect())),
            field("day", Column::Int(days.keys().map(|(_, day)| *day).collect())),
            field("succeeded", Column::BigInt(days.values().map(|c| c.0).collect())),
            field("failed", Column::BigInt(days.values().map(|c| c.1).collect())),
            field("last_triggered_at", Column::BigInt(days.values().map(|c| c.2).collect())),
        ];
        let statement = bulk::insert(self.backend(), "webhook_days", fields, ADD_TO_DAY);
        transaction.execute_raw(statement).await?;
        Ok(())
    }
}

/// Outcomes in rounds of different deliveries, each round sorted by delivery: one statement
/// cannot change a row twice.
fn rounds(outcomes: &[Outcome]) -> Vec<Vec<&Outcome>> {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by_key(|outcome| (outcome.delivery, outcome.attempt));
    let mut rounds: Vec<Vec<&Outcome>> = Vec::new();
    let mut last = None;
    let mut round = 0;
    for outcome in sorted {
        round = if last == Some(outcome.delivery) { round + 1 } else { 0 };
        last = Some(outcome.delivery);
        if rounds.len() <= round {
            rounds.push(Vec::new());
        }
        rounds[round].push(outcome);
    }
    rounds
}

fn triggered_at(outcome: &Outcome) -> i64 {
    to_micros(outcome.report.as_ref().map_or_else(now, |report| report.started_at))
}

fn report_of<T>(outcome: &Outcome, none: T, read: impl Fn(&AttemptReport) -> Option<T>) -> T {
    outcome.report.as_ref().and_then(read).unwrap_or(none)
}

fn millis(report: &AttemptReport) -> i64 {
    i64::try_from(report.duration.as_millis()).unwrap_or(i64::MAX)
}

fn failure_text(outcome: &Outcome) -> String {
    report_of(outcome, String::new(), |r| r.failure.as_ref().map(|f| storable(&f.text)))
}

/// Status codes of answers, -1 for none.
fn status_codes(outcomes: &[&Outcome]) -> Column {
    Column::Int(outcomes.iter().map(|o| report_of(o, -1, |r| r.status.map(i32::from))).collect())
}

fn delivery_fields(outcomes: &[&Outcome]) -> Vec<bulk::Field> {
    fn each<T>(outcomes: &[&Outcome], read: impl Fn(&Outcome) -> T) -> Vec<T> {
        outcomes.iter().map(|outcome| read(outcome)).collect()
    }
    let o = outcomes;
    vec![
        field("id", Column::Uuid(each(o, |o| o.delivery.as_uuid()))),
        field("webhook_id", Column::Uuid(each(o, |o| o.webhook.as_uuid()))),
        field("event_key", Column::Uuid(each(o, |o| o.event.key().0))),
        field("event_kind", Column::Text(each(o, |o| o.event.kind.to_string()))),
        field("status", Column::SmallInt(each(o, |o| o.status as i16))),
        field("cause", Column::SmallInt(each(o, |o| o.cause as i16))),
        field("attempts", Column::Int(each(o, |o| i32::try_from(o.attempt).unwrap_or(i32::MAX)))),
        nullable("status_code", status_codes(o)),
        nullable("error", Column::Text(each(o, failure_text))),
        nullable(
            "response_time_ms",
            Column::BigInt(each(o, |o| report_of(o, -1, |r| Some(millis(r))))),
        ),
        field("triggered_at", Column::BigInt(each(o, triggered_at))),
        nullable(
            "next_attempt_at",
            Column::BigInt(each(o, |o| o.next_attempt_at.map_or(-1, to_micros))),
        ),
        field(
            "payload_size",
            Column::BigInt(each(o, |o| i64::try_from(o.event.payload.len()).unwrap_or(i64::MAX))),
        ),
    ]
}

fn attempt_fields(outcomes: &[&Outcome]) -> Vec<bulk::Field> {
    fn each<T>(outcomes: &[&Outcome], read: impl Fn(&Outcome) -> T) -> Vec<T> {
        outcomes.iter().map(|outcome| read(outcome)).collect()
    }
    let o = outcomes;
    let kind = |r: &AttemptReport| r.failure.as_ref().map(|f| f.kind.as_str().to_owned());
    let body = |r: &AttemptReport| Some(storable(&String::from_utf8_lossy(&r.response)));
    let address = |r: &AttemptReport| r.address.map(|address| address.to_string());
    vec![
        field("delivery_id", Column::Uuid(each(o, |o| o.delivery.as_uuid()))),
        field("number", Column::Int(each(o, |o| i32::try_from(o.attempt).unwrap_or(i32::MAX)))),
        field("started_at", Column::BigInt(each(o, triggered_at))),
        field(
            "response_time_ms",
            Column::BigInt(each(o, |o| report_of(o, 0, |r| Some(millis(r))))),
        ),
        nullable("status_code", status_codes(o)),
        nullable("error_kind", Column::Text(each(o, |o| report_of(o, String::new(), kind)))),
        nullable("error", Column::Text(each(o, failure_text))),
        nullable("response_body", Column::Text(each(o, |o| report_of(o, String::new(), body)))),
        nullable("address", Column::Text(each(o, |o| report_of(o, String::new(), address)))),
    ]
}

/// Text of an endpoint without control characters: PostgreSQL refuses NUL, and terminals obey
/// others. Line ends and tabs stay.
fn storable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).collect()
}

fn progress_of(row: &QueryResult) -> Result<DeliveryProgress, StoreError> {
    let status: i16 = row.try_get("", "status")?;
    let attempts: i32 = row.try_get("", "attempts")?;
    let next: Option<i64> = row.try_get("", "next_attempt_at")?;
    Ok(DeliveryProgress {
        status: DeliveryStatus::try_from(status)
            .map_err(|e| StoreError::Corrupt { what: "delivery", message: e.to_string() })?,
        attempts: u32::try_from(attempts).unwrap_or(0),
        next_attempt_at: next.map(from_micros).transpose()?,
    })
}
