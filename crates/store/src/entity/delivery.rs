//! One event for one webhook; only moves forward.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::SimpleExpr;

/// Only deliveries without success: the condition of the index `deliveries_undelivered`, in the
/// very words that the databases recognise it by.
pub(crate) fn undelivered() -> SimpleExpr {
    Expr::cust("status <> 2")
}

/// Only redeliveries, replays and tests: the condition of the index `deliveries_by_hand`.
pub(crate) fn by_hand() -> SimpleExpr {
    Expr::cust("cause <> 0")
}

/// One event for one webhook; only moves forward.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub webhook_id: Uuid,
    pub event_key: Uuid,
    pub event_kind: String,
    pub status: i16,
    pub cause: i16,
    pub attempts: i32,
    pub status_code: Option<i32>,
    pub error: Option<String>,
    pub response_time_ms: Option<i64>,
    pub triggered_at: i64,
    pub next_attempt_at: Option<i64>,
    pub payload_size: i64,
    /// With `address`, of a delivery that succeeded at once: its attempt has no row of its own.
    pub response_body: Option<String>,
    pub address: Option<String>,
    /// With `partition_key`, its place in the backlog of its webhook.
    pub waiting_at: Option<i64>,
    pub partition_key: Option<i64>,
    /// An attempt of it goes on without a message.
    pub parked: Option<i16>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
