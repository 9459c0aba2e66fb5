//! One event for one webhook; only moves forward.

use sea_orm::entity::prelude::*;

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
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
