//! The store: webhooks, deliveries and attempts in PostgreSQL or SQLite, by the same code and
//! with the same tests (`tests/it`). Nothing above knows which of the two it is.

mod audit;
mod config;
mod error;
mod job;
mod model;

mod connection;
mod patience;
mod schema;

mod entity;
mod instant;
mod keyring;
mod migration;

mod rekey;
mod webhook_change;
mod webhook_row;
mod webhooks;

mod statistics;

mod bulk;
mod health;
mod notices;
mod outcome_columns;
mod recording;

mod backlog;
mod ordered;

mod counting;
mod erasure;
mod examination;
mod idempotency;
mod jobs;
mod kept_keys;
mod lease;
mod logs;
mod redeliveries;
mod retention;
mod sign_outs;
mod suspects;
mod sweep;
mod turn;

use std::sync::Arc;

use sea_orm::DatabaseConnection;

pub use audit::{Act, Action, AuditFilter, AuditRow, Deed, ObjectKind, Via, note_outside};
pub use backlog::{
    BacklogDepth, BacklogKey, BacklogPage, BacklogPlace, Backlogged, ClaimedBacklog, Written,
};
pub use config::{DatabaseConfig, SecretsConfig};
pub use erasure::Erased;
pub use error::StoreError;
pub use health::HealthRules;
pub use idempotency::{Claimed, KEY_LIFETIME, KeyedRequest, LARGEST_ANSWER};
pub use job::{Job, JobCounts, JobKind, JobScope, JobStatus, NewJob, RangePage};
pub use kept_keys::{KEY_BYTES, KeptKeys};
pub use model::{
    AttemptRow, Carried, DeliveryFilter, DeliveryPlace, DeliveryProgress, DeliveryRow, EventRow,
    NewWebhook, Outcome, Overdue, Page, PageRequest, Updated, Waits, WebhookChange, WebhookFilter,
    WebhookStats, WebhookWithStats,
};
pub use ordered::{OrderedCursor, PlacedDelivery};
pub use patience::LONGEST_WAIT;
pub use redeliveries::Recorded;
pub use rekey::{Rekeyed, Sealed};
pub use retention::{Retention, Step};
pub use schema::migrate;
pub use sign_outs::SignOutRow;

/// Everything that is kept. Cloning shares the connections.
#[derive(Clone, Debug)]
pub struct Store {
    /// For all that writes; on PostgreSQL the same as `reader`.
    writer: patience::Patient<DatabaseConnection>,
    reader: patience::Patient<DatabaseConnection>,
    keyring: Arc<keyring::Keyring>,
    /// Who its changes are noted as done by.
    act: Arc<Act>,
}
