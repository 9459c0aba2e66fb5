//! How failing webhooks are doing, and notices that are not published yet.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, integer, small_integer, text, uuid,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_webhook_health"
    }
}

/// A row for each webhook that failed; none of it is touched by a delivery that succeeds.
fn webhook_health() -> TableCreateStatement {
    Table::create()
        .table("webhook_health")
        .if_not_exists()
        .col(uuid("webhook_id").primary_key())
        .col(small_integer("failing"))
        .col(big_integer_null("told_at"))
        .col(big_integer_null("exhausted_since"))
        .col(integer("exhausted"))
        .to_owned()
}

fn notices() -> TableCreateStatement {
    Table::create()
        .table("notices")
        .if_not_exists()
        .col(uuid("id").primary_key())
        .col(text("user_id"))
        .col(uuid("webhook_id"))
        .col(text("kind"))
        .col(text("body"))
        .col(big_integer("created_at"))
        .to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(webhook_health()).await?;
        manager.create_table(notices()).await?;
        // Whether there was a success between two failures, from a row that is written anyway.
        let last_succeeded = Table::alter()
            .table("webhook_days")
            .add_column(big_integer_null("last_succeeded_at"))
            .to_owned();
        manager.alter_table(last_succeeded).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["notices", "webhook_health"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        let last_succeeded =
            Table::alter().table("webhook_days").drop_column("last_succeeded_at").to_owned();
        manager.alter_table(last_succeeded).await
    }
}
