//! The store: webhooks, deliveries and attempts in PostgreSQL or SQLite, by the same code and
//! with the same tests (`tests/it`). Nothing above knows which of the two it is.

mod config;
mod error;
mod model;

pub use config::{DatabaseConfig, SecretsConfig};
pub use error::StoreError;
pub use model::{
    AttemptRow, DeliveryFilter, DeliveryProgress, DeliveryRow, EventRow, NewWebhook, Outcome,
    Overdue, Page, PageRequest, WebhookChange, WebhookFilter, WebhookStats, WebhookWithStats,
};
