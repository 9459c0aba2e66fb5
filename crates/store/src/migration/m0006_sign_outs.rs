//! Who was signed out.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_sign_outs"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sign_outs = Table::create()
            .table("sign_outs")
            .if_not_exists()
            .col(text("user_id"))
            // Empty where all tokens of the user are meant.
            .col(text("token_id"))
            .col(big_integer("at"))
            .primary_key(Index::create().col("user_id").col("token_id"))
            .to_owned();
        manager.create_table(sign_outs).await?;
        let by_time = Index::create()
            .name("sign_outs_by_time")
            .table("sign_outs")
            .col("at")
            .if_not_exists()
            .to_owned();
        manager.create_index(by_time).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("sign_outs").to_owned()).await
    }
}
