//! Outcomes of attempts, many in one transaction. Writing the same twice changes nothing, a
//! delivery only moves forward, and the first claim of an attempt's number stands.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{Cause, DeliveryId, DeliveryStatus};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Statement};
use uuid::Uuid;

use crate::audit::Noted;
use crate::backlog::joining;
use crate::bulk::{self, Column, Field, field, nullable};
use crate::error::is_conflict;
use crate::instant::{day_of, from_micros};
use crate::outcome_columns::{
    attempts, deliveries, events, stands_at, succeeded_at_once, triggered_at,
};
use crate::patience::Patient;
use crate::{
    BacklogKey, Carried, DeliveryProgress, HealthRules, Outcome, Store, StoreError, Written, health,
};

/// Ids of one query, at most.
const CHUNK: usize = 1_000;

/// Of a delivery that stands in a backlog and was neither attempted, ended nor given a place:
/// what it had, else what the outcome brings.
macro_rules! unless_it_waits {
    ($column:literal) => {
        concat!(
            $column,
            " = CASE WHEN deliveries.waiting_at IS NOT NULL AND excluded.waiting_at IS NULL \
             AND excluded.response_time_ms IS NULL AND excluded.status < 2 \
             THEN deliveries.",
            $column,
            " ELSE excluded.",
            $column,
            " END, "
        )
    };
}

/// What an outcome may change: a delivery that has not ended. An attempt (it has a response time)
/// must be a later one than those recorded; a deferral or a cancellation leaves their result.
const MOVE_FORWARD: &str = concat!(
    "ON CONFLICT (id) DO UPDATE SET \
     status = excluded.status, ",
    unless_it_waits!("next_attempt_at"),
    unless_it_waits!("waiting_at"),
    unless_it_waits!("partition_key"),
    unless_it_waits!("parked"),
    "\
     attempts = CASE WHEN excluded.response_time_ms IS NULL \
         THEN deliveries.attempts ELSE excluded.attempts END, \
     status_code = CASE WHEN excluded.response_time_ms IS NULL \
         THEN deliveries.status_code ELSE excluded.status_code END, \
     error = CASE WHEN excluded.response_time_ms IS NULL \
         THEN COALESCE(excluded.error, deliveries.error) ELSE excluded.error END, \
     response_time_ms = COALESCE(excluded.response_time_ms, deliveries.response_time_ms), \
     response_body = excluded.response_body, \
     address = excluded.address, \
     triggered_at = CASE WHEN excluded.response_time_ms IS NULL OR deliveries.attempts > 0 \
         THEN deliveries.triggered_at ELSE excluded.triggered_at END \
     WHERE deliveries.status < 2 AND (deliveries.attempts < excluded.attempts \
         OR (excluded.response_time_ms IS NULL AND deliveries.attempts = excluded.attempts))"
);

const ADD_TO_DAY: &str = "ON CONFLICT (webhook_id, day) DO UPDATE SET \
     succeeded = webhook_days.succeeded + excluded.succeeded, \
     failed = webhook_days.failed + excluded.failed, \
     last_succeeded_at = CASE WHEN excluded.last_succeeded_at IS NULL \
         OR webhook_days.last_succeeded_at > excluded.last_succeeded_at \
         THEN webhook_days.last_succeeded_at ELSE excluded.last_succeeded_at END, \
     last_triggered_at = CASE WHEN excluded.last_triggered_at > webhook_days.last_triggered_at \
         THEN excluded.last_triggered_at ELSE webhook_days.last_triggered_at END";

type Transaction = Patient<DatabaseTransaction>;

/// What the database is to say of the deliveries that moved. All of them do but for rare copies,
/// and to count them costs it and us nothing.
#[derive(Clone, Copy, Debug)]
enum Told {
    Number,
    Names,
}

impl Store {
    /// Records `outcomes` in one transaction: the events, the deliveries, the attempts, the
    /// statistics. The same outcomes again change nothing, and what a delivery has come to since
    /// is not undone: a late outcome is left out, with its attempt.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the database is away: nothing, or everything, was
    /// recorded; record the same again.
    pub async fn record(&self, outcomes: &[Outcome]) -> Result<(), StoreError> {
        self.record_and_judge(outcomes, None, None).await.map(drop)
    }

    /// Records `outcomes` as [`Store::record`] does, and what they say of their webhooks by
    /// `rules`; gives back the notices to publish. Those of a kind that is kept are in
    /// [`Store::untold_notices`] until [`Store::told`].
    ///
    /// A backlog that begins with one of them is `holder`'s, or free.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub async fn record_and_judge(
        &self,
        outcomes: &[Outcome],
        rules: Option<&HealthRules>,
        holder: Option<&str>,
    ) -> Result<Written, StoreError> {
        if outcomes.is_empty() {
            return Ok(Written::default());
        }
        let (mut told, mut tried) = (Told::Number, false);
        loop {
            match self.try_record(outcomes, rules, holder, told).await {
                Ok(Some(written)) => return Ok(written),
                Ok(None) => told = Told::Names,
                Err(error) if is_conflict(&error) && !std::mem::replace(&mut tried, true) => {}
                Err(error) => return Err(error.into()),
            }
        }
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
            let uuids = chunk.iter().map(DeliveryId::as_uuid).collect();
            let (among, values) = bulk::among(self.backend(), uuids, 1);
            let sql = format!(
                "SELECT id, status, attempts, next_attempt_at, waiting_at, parked \
                 FROM deliveries WHERE id {among}"
            );
            let statement = Statement::from_sql_and_values(self.backend(), sql, values);
            for row in self.reader.query_all_raw(statement).await? {
                found.insert(DeliveryId::from_uuid(row.try_get("", "id")?), progress_of(&row)?);
            }
        }
        Ok(found)
    }

    /// `None`, and nothing recorded, when some deliveries stood still and the database was not
    /// asked which.
    async fn try_record(
        &self,
        outcomes: &[Outcome],
        rules: Option<&HealthRules>,
        holder: Option<&str>,
        told: Told,
    ) -> Result<Option<Written>, DbErr> {
        let transaction = self.writer.begin().await?;
        // Before all else: whoever ends a backlog waits for those who join it, or they for it.
        let joined = outcomes.iter().filter_map(|o| Some((backlog_of(o)?, &o.event.user)));
        let begun = joining::join(&transaction, joined, holder).await?;
        let conflict = "ON CONFLICT (key) DO NOTHING";
        insert(&transaction, "events", events(outcomes), conflict).await?;
        let Some(made) = move_deliveries(&transaction, outcomes, told).await? else {
            transaction.rollback().await?;
            return Ok(None);
        };
        if !made.is_empty() {
            let own = |o: &&Outcome| o.report.is_some() && !succeeded_at_once(o);
            let own: Vec<_> = made.iter().copied().filter(own).collect();
            if !own.is_empty() {
                let conflict = "ON CONFLICT (delivery_id, number) DO NOTHING";
                insert(&transaction, "attempts", attempts(&own), conflict).await?;
            }
            insert(&transaction, "webhook_days", days(&made), ADD_TO_DAY).await?;
        }
        let (notices, noted) = match rules {
            Some(rules) => health::judge(&transaction, &made, rules).await?,
            None => Default::default(),
        };
        transaction.commit().await?;
        noted.into_iter().for_each(Noted::log);
        Ok(Some(Written { notices, begun }))
    }
}

/// The backlog that the delivery goes on in.
fn backlog_of(outcome: &Outcome) -> Option<BacklogKey> {
    stands_at(outcome).map(|(partition, _)| BacklogKey { webhook: outcome.webhook, partition })
}

/// Gives back how many rows were inserted or changed.
pub(crate) async fn insert(
    transaction: &Transaction,
    table: &str,
    fields: Vec<Field>,
    conflict: &str,
) -> Result<u64, DbErr> {
    let backend = transaction.get_database_backend();
    let mut changed = 0;
    for statement in bulk::insert(backend, table, fields, conflict) {
        changed += transaction.execute_raw(statement).await?.rows_affected();
    }
    Ok(changed)
}

/// Moves deliveries forward; gives back the outcomes that did so and count: attempts, and failures
/// without one. `None` when some did not, and only their number is known.
async fn move_deliveries<'a>(
    transaction: &Transaction,
    outcomes: &'a [Outcome],
    told: Told,
) -> Result<Option<Vec<&'a Outcome>>, DbErr> {
    let mut made = Vec::with_capacity(outcomes.len());
    for mut round in rounds(outcomes) {
        match told {
            Told::Number => {
                let moved = insert(transaction, "deliveries", deliveries(&round), MOVE_FORWARD);
                if usize::try_from(moved.await?) != Ok(round.len()) {
                    return Ok(None);
                }
            }
            Told::Names => {
                let moved = moved_of(transaction, &round).await?;
                round.retain(|outcome| moved.contains(&outcome.delivery.as_uuid()));
            }
        }
        made.extend(round.into_iter().filter(|outcome| counts(outcome)));
    }
    Ok(Some(made))
}

fn counts(outcome: &Outcome) -> bool {
    let given_up = outcome.reason.is_some() && outcome.status == DeliveryStatus::Failed;
    outcome.report.is_some() || given_up
}

/// Moves deliveries forward; gives back which of them did.
async fn moved_of(transaction: &Transaction, round: &[&Outcome]) -> Result<HashSet<Uuid>, DbErr> {
    let conflict = format!("{MOVE_FORWARD} RETURNING id");
    let backend = transaction.get_database_backend();
    let mut moved = HashSet::with_capacity(round.len());
    for statement in bulk::insert(backend, "deliveries", deliveries(round), &conflict) {
        for row in transaction.query_all_raw(statement).await? {
            moved.insert(row.try_get("", "id")?);
        }
    }
    Ok(moved)
}

/// Outcomes in rounds of different deliveries, because one statement cannot change a row twice.
/// Each round is sorted by delivery, so that two dispatchers lock rows in one order; what the
/// later rounds change, the first has locked.
pub(crate) fn rounds(outcomes: &[Outcome]) -> Vec<Vec<&Outcome>> {
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

/// What the outcomes that count add to their webhooks' days: successes, failures, the last time,
/// the last success.
fn days(made: &[&Outcome]) -> Vec<Field> {
    let mut days: BTreeMap<(Uuid, i32), (i64, i64, i64, i64)> = BTreeMap::new();
    for outcome in made {
        let at = triggered_at(outcome);
        let key = (outcome.webhook.as_uuid(), day_of(at));
        let sums = days.entry(key).or_insert((0, 0, 0, -1));
        // A test says nothing of how deliveries go.
        let counted = i64::from(outcome.cause != Cause::Test);
        match outcome.status {
            DeliveryStatus::Success => {
                sums.0 += counted;
                sums.3 = sums.3.max(if counted == 1 { at } else { -1 });
            }
            DeliveryStatus::Failed => sums.1 += counted,
            _ => {}
        }
        sums.2 = sums.2.max(at);
    }
    vec![
        field("webhook_id", Column::Uuid(days.keys().map(|(id, _)| *id).collect())),
        field("day", Column::Int(days.keys().map(|(_, day)| *day).collect())),
        field("succeeded", Column::BigInt(days.values().map(|sums| sums.0).collect())),
        field("failed", Column::BigInt(days.values().map(|sums| sums.1).collect())),
        field("last_triggered_at", Column::BigInt(days.values().map(|sums| sums.2).collect())),
        nullable("last_succeeded_at", Column::BigInt(days.values().map(|sums| sums.3).collect())),
    ]
}

/// What the columns say of what carries a delivery on.
pub(crate) fn carried(waiting_at: Option<i64>, parked: Option<i16>) -> Carried {
    match (waiting_at, parked) {
        (Some(_), _) => Carried::InBacklog,
        (None, Some(_)) => Carried::Parked,
        (None, None) => Carried::No,
    }
}

fn progress_of(row: &QueryResult) -> Result<DeliveryProgress, StoreError> {
    let status: i16 = row.try_get("", "status")?;
    let attempts: i32 = row.try_get("", "attempts")?;
    let next: Option<i64> = row.try_get("", "next_attempt_at")?;
    let waiting_at: Option<i64> = row.try_get("", "waiting_at")?;
    let parked: Option<i16> = row.try_get("", "parked")?;
    Ok(DeliveryProgress {
        status: DeliveryStatus::try_from(status).map_err(|e| StoreError::corrupt("delivery", e))?,
        attempts: u32::try_from(attempts).map_err(|e| StoreError::corrupt("delivery", e))?,
        next_attempt_at: next.map(from_micros).transpose()?,
        carried: carried(waiting_at, parked),
    })
}
