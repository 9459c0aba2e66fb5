//! One HTTP request of a delivery; the first to claim a number keeps it. The one attempt of a
//! delivery that succeeded at once stands in the delivery's row instead: most deliveries are such,
//! and cost a row and an index less.

use sea_orm::entity::prelude::*;

/// One HTTP request of a delivery; the first to claim a number keeps it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub delivery_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    pub started_at: i64,
    pub response_time_ms: i64,
    pub status_code: Option<i32>,
    pub error_kind: Option<String>,
    pub error: Option<String>,
    pub response_body: Option<String>,
    pub address: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
