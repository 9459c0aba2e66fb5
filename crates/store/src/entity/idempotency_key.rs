//! A request that may be sent again, and what it was answered.

use sea_orm::entity::prelude::*;

/// A request that may be sent again, and what it was answered.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// A hash of the request.
    pub fingerprint: Vec<u8>,
    /// What the ids of the request's work are made from.
    pub seed: Uuid,
    /// The answer's status, once there is one.
    pub status: Option<i16>,
    /// The answer's body, sealed: it may hold a secret.
    pub answer: Option<Vec<u8>>,
    pub created_at: i64,
    /// Until then somebody works on the request.
    pub locked_until: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
