//! A range of redeliveries, or a replay, and how far it has come.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::SimpleExpr;

/// Only jobs that have not ended: the condition of the index `jobs_unfinished`, in the very words
/// that the databases recognise it by.
pub(crate) fn unfinished() -> SimpleExpr {
    Expr::cust("status < 2")
}

/// A range of redeliveries, or a replay, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub webhook_id: Uuid,
    pub user_id: String,
    pub kind: i16,
    /// Which deliveries of the range, for a range of redeliveries.
    pub statuses: i16,
    pub since: i64,
    pub until: i64,
    pub status: i16,
    pub reason: Option<String>,
    pub total: i64,
    pub total_capped: bool,
    pub done: i64,
    pub skipped: i64,
    pub failed: i64,
    pub history_from: Option<i64>,
    /// Grows with every step, so that of two that step at once one does.
    pub steps: i32,
    /// The last delivery looked at.
    pub cursor_at: i64,
    pub cursor_id: Uuid,
    pub created_at: i64,
    pub updated_at: i64,
    pub finished_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
