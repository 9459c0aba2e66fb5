//! Something that was done.

use sea_orm::entity::prelude::*;

/// Something that was done. `fields` are names, with commas between.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub at: i64,
    pub user_id: Option<String>,
    pub actor: String,
    pub via: i16,
    pub token_id: Option<String>,
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub action: String,
    pub object_kind: String,
    pub object_id: String,
    pub fields: String,
    pub outcome: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
