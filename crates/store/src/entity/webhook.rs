//! A webhook; its secrets and headers are sealed.

use sea_orm::entity::prelude::*;

/// A webhook; its secrets and headers are sealed.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhooks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: String,
    pub name: String,
    pub url: String,
    /// A JSON list of types, families and `*`.
    pub events: String,
    /// A JSON list.
    pub project_ids: String,
    /// A sealed JSON object.
    pub headers: Vec<u8>,
    pub secret: Vec<u8>,
    pub previous_secret: Option<Vec<u8>>,
    pub previous_until: Option<i64>,
    pub active: bool,
    pub description: Option<String>,
    /// A JSON object.
    pub metadata: String,
    pub disabled_reason: Option<String>,
    pub disabled_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    /// The JSON of a filter.
    pub filter: Option<String>,
    pub rate_limit: Option<i32>,
    pub request_changed_at: Option<i64>,
    /// A sealed JSON list of names, in lower case.
    pub sensitive_headers: Option<Vec<u8>>,
    /// The sealed seed of an Ed25519 key.
    pub signing_key: Option<Vec<u8>>,
    pub previous_signing_key: Option<Vec<u8>>,
    pub pending_since: Option<i64>,
    pub verified_at: Option<i64>,
    /// 1 for a webhook that is.
    pub ordered: i16,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
