//! The store: webhooks, deliveries and attempts in PostgreSQL or SQLite, by the same code and
//! with the same tests (`tests/it`). Nothing above knows which of the two it is.

mod bulk;
mod config;
mod connection;
mod entity;
mod error;
mod instant;
mod keyring;
mod lease;
mod logs;
mod migration;
mod model;
mod recording;
mod sweep;
mod webhooks;

use std::sync::Arc;

use sea_orm::DatabaseConnection;

pub use config::{DatabaseConfig, SecretsConfig};
pub use error::StoreError;
pub use model::{
    AttemptRow, DeliveryFilter, DeliveryProgress, DeliveryRow, EventRow, NewWebhook, Outcome,
    Overdue, Page, PageRequest, WebhookChange, WebhookFilter, WebhookStats, WebhookWithStats,
};

/// Everything that is kept. Cloning shares the connections.
#[derive(Clone, Debug)]
pub struct Store {
    db: DatabaseConnection,
    keyring: Arc<keyring::Keyring>,
}
