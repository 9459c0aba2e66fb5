//! Deliveries that wait for their turn, who sends them, and how far something was read.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, small_integer, small_integer_null, text, text_null, uuid,
    uuid_null,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0009_backlogs"
    }
}

fn alter(table: &'static str) -> TableAlterStatement {
    Table::alter().table(Alias::new(table)).to_owned()
}

fn backlogs() -> TableCreateStatement {
    Table::create()
        .table("backlogs")
        .if_not_exists()
        .col(uuid("webhook_id"))
        .col(big_integer("partition_key"))
        .col(text("user_id"))
        .col(text_null("holder"))
        .col(big_integer("began_at"))
        .col(big_integer_null("silent_since"))
        .primary_key(Index::create().col("webhook_id").col("partition_key"))
        .to_owned()
}

fn cursors() -> TableCreateStatement {
    Table::create()
        .table("cursors")
        .if_not_exists()
        .col(text("name").primary_key())
        .col(uuid_null("entry"))
        .col(big_integer("at"))
        .col(big_integer("place"))
        .to_owned()
}

/// None of a delivery that goes at once is in it.
fn waiting() -> IndexCreateStatement {
    Index::create()
        .name("deliveries_waiting")
        .table("deliveries")
        .if_not_exists()
        .col("webhook_id")
        .col("partition_key")
        .col("waiting_at")
        .col("id")
        .and_where(Expr::col("waiting_at").is_not_null())
        .to_owned()
}

fn held() -> IndexCreateStatement {
    Index::create()
        .name("backlogs_by_holder")
        .table("backlogs")
        .if_not_exists()
        .col("holder")
        .to_owned()
}

fn ordered() -> IndexCreateStatement {
    Index::create()
        .name("webhooks_ordered")
        .table("webhooks")
        .if_not_exists()
        .col("id")
        .and_where(Expr::cust("ordered = 1"))
        .to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement: SQLite takes no more.
        for column in [
            big_integer_null("waiting_at"),
            big_integer_null("partition_key"),
            small_integer_null("parked"),
        ] {
            manager.alter_table(alter("deliveries").add_column(column).to_owned()).await?;
        }
        let column = small_integer("ordered").default(0).to_owned();
        manager.alter_table(alter("webhooks").add_column(column).to_owned()).await?;
        manager.create_table(backlogs()).await?;
        manager.create_table(cursors()).await?;
        for index in [waiting(), held(), ordered()] {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in
            [("webhooks", "webhooks_ordered"), ("deliveries", "deliveries_waiting")]
        {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        for name in ["cursors", "backlogs"] {
            manager.drop_table(Table::drop().table(name).to_owned()).await?;
        }
        for (table, column) in [
            ("webhooks", "ordered"),
            ("deliveries", "parked"),
            ("deliveries", "partition_key"),
            ("deliveries", "waiting_at"),
        ] {
            let column = alter(table).drop_column(Alias::new(column)).to_owned();
            manager.alter_table(column).await?;
        }
        Ok(())
    }
}
