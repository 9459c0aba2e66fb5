//! Which of a webhook's headers are sensitive, with which key it signs, and whether its endpoint
//! proved that it wants to be told.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, blob_null};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_endpoint_proofs"
    }
}

fn webhooks() -> TableAlterStatement {
    Table::alter().table(Alias::new("webhooks")).to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement: SQLite takes no more.
        for column in [
            blob_null("sensitive_headers"),
            blob_null("signing_key"),
            blob_null("previous_signing_key"),
            big_integer_null("pending_since"),
            big_integer_null("verified_at"),
        ] {
            manager.alter_table(webhooks().add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [
            "verified_at",
            "pending_since",
            "previous_signing_key",
            "signing_key",
            "sensitive_headers",
        ] {
            manager.alter_table(webhooks().drop_column(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}
