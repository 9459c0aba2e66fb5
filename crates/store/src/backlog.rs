//! Backlogs: deliveries that wait for their turn, the lowest place first. A backlog has a row that
//! says who sends what is in it (its holder), for as long as something is.
//!
//! Locks are taken in one order, so that nobody waits in a circle: rows of `backlogs`, sorted, and
//! only then rows of `deliveries`.

mod claiming;
mod depth;
mod ending;
pub(crate) mod joining;
mod page;

use domain::{DeliveryId, DeliveryTask, Notice, UserId, WebhookId};
use sea_orm::{DatabaseBackend, DbErr, QueryResult, Value};
use time::OffsetDateTime;

use crate::bulk::Column;
use crate::instant::from_micros;
use crate::{Store, StoreError};

/// Names a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BacklogKey {
    /// The webhook whose deliveries wait.
    pub webhook: WebhookId,
    /// Which of them: 0, or of an ordered webhook those of one project. Never negative.
    pub partition: i64,
}

/// What recording came to.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// To be published.
    pub notices: Vec<Notice>,
    /// The backlogs that began with it: their holder is whoever was named as such.
    pub begun: Vec<BacklogKey>,
}

/// A backlog that was free and has a holder now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedBacklog {
    /// Which.
    pub key: BacklogKey,
    /// Whose webhook.
    pub user: UserId,
    /// Since when the endpoint does not answer.
    pub silent_since: Option<OffsetDateTime>,
}

/// Where a delivery stands in a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BacklogPlace {
    /// Microseconds.
    pub place: i64,
    /// Which delivery.
    pub id: DeliveryId,
}

/// A delivery that waits.
#[derive(Clone, Debug)]
pub struct Backlogged {
    /// Where.
    pub place: BacklogPlace,
    /// Its next attempt; `not_before` is when that is due, where it has a time.
    pub task: DeliveryTask,
    /// When its first attempt was made, or, before that, when it was planned.
    pub triggered_at: OffsetDateTime,
}

/// A part of a backlog.
#[derive(Clone, Debug, Default)]
pub struct BacklogPage {
    /// The lowest place first.
    pub deliveries: Vec<Backlogged>,
    /// The last place that was looked at; `None` when there was none.
    pub last: Option<BacklogPlace>,
    /// Whether more may follow it.
    pub full: bool,
}

/// How much waits of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BacklogDepth {
    /// Deliveries, counted up to 10,000.
    pub waiting: u64,
    /// Whether there are more.
    pub capped: bool,
    /// Since when the one waits that came first.
    pub since: Option<OffsetDateTime>,
    /// Since when the endpoint does not answer.
    pub silent_since: Option<OffsetDateTime>,
}

impl Store {
    /// What locks the rows that a statement finds; SQLite has one writer at a time.
    fn locking(&self, lock: &'static str) -> &'static str {
        if self.backend() == DatabaseBackend::Postgres { lock } else { "" }
    }
}

/// The lease of a holder, for as long as which its backlogs are not free: `dispatcher/` and its
/// name.
const LEASES: &str = "dispatcher/";

/// What follows `(webhook_id, partition_key)` that is one of `keys`, and its values; `first` is the
/// number of its first parameter.
fn among(backend: DatabaseBackend, keys: &[BacklogKey], first: usize) -> (String, Vec<Value>) {
    if backend == DatabaseBackend::Postgres {
        let sql = format!(
            "IN (SELECT w, p FROM UNNEST(${first}::uuid[], ${}::bigint[]) AS given(w, p))",
            first + 1
        );
        return (sql, vec![webhooks(keys).array(), partitions(keys).array()]);
    }
    let marks = (0..keys.len()).map(|n| format!("(${}, ${})", first + 2 * n, first + 2 * n + 1));
    let sql = format!("IN (VALUES {})", marks.collect::<Vec<_>>().join(", "));
    let values = keys.iter().flat_map(|k| [k.webhook.as_uuid().into(), k.partition.into()]);
    (sql, values.collect())
}

fn webhooks(keys: &[BacklogKey]) -> Column {
    Column::Uuid(keys.iter().map(|key| key.webhook.as_uuid()).collect())
}

fn partitions(keys: &[BacklogKey]) -> Column {
    Column::BigInt(keys.iter().map(|key| key.partition).collect())
}

fn key_of(row: &QueryResult) -> Result<BacklogKey, DbErr> {
    Ok(BacklogKey {
        webhook: WebhookId::from_uuid(row.try_get("", "webhook_id")?),
        partition: row.try_get("", "partition_key")?,
    })
}

fn time_of(row: &QueryResult, column: &str) -> Result<Option<OffsetDateTime>, StoreError> {
    row.try_get::<Option<i64>>("", column)?.map(from_micros).transpose()
}
