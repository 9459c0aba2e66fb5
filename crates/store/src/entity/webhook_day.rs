//! How a webhook did on one day (days since 1970, UTC).

use sea_orm::entity::prelude::*;

/// How a webhook did on one day (days since 1970, UTC).
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_days")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i32,
    pub succeeded: i64,
    pub failed: i64,
    pub last_triggered_at: i64,
    pub last_succeeded_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
