//! A webhook's filter, its rate limit, and when what it sends was last changed.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, integer_null, text_null};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_webhook_options"
    }
}

fn webhooks() -> TableAlterStatement {
    Table::alter().table(Alias::new("webhooks")).to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement: SQLite takes no more.
        let changed = big_integer_null("request_changed_at");
        for column in [text_null("filter"), integer_null("rate_limit"), changed] {
            manager.alter_table(webhooks().add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["request_changed_at", "rate_limit", "filter"] {
            manager.alter_table(webhooks().drop_column(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}
