//! An event, once, as the bytes that are sent.

use sea_orm::entity::prelude::*;

/// An event, once, as the bytes that are sent.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: Uuid,
    pub user_id: String,
    pub event_id: String,
    pub kind: String,
    pub created_at: i64,
    pub payload: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
