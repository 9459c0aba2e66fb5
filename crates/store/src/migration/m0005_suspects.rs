//! Marks on messages that may end whoever works on them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, uuid};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_suspects"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let suspects = Table::create()
            .table("suspects")
            .if_not_exists()
            .col(uuid("id").primary_key())
            .col(integer("marks"))
            .col(big_integer("marked_at"))
            .to_owned();
        manager.create_table(suspects).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("suspects").to_owned()).await
    }
}
