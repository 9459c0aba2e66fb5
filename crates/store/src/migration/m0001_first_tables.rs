//! Webhooks, events, deliveries, attempts, daily statistics, leases.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, blob, blob_null, boolean, integer, integer_null, small_integer,
    text, text_null, uuid,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_first_tables"
    }
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).if_not_exists().to_owned()
}

fn webhooks() -> TableCreateStatement {
    table("webhooks")
        .col(uuid("id").primary_key())
        .col(text("user_id"))
        .col(text("name"))
        .col(text("url"))
        .col(text("events"))
        .col(text("project_ids"))
        .col(blob("headers"))
        .col(blob("secret"))
        .col(blob_null("previous_secret"))
        .col(big_integer_null("previous_until"))
        .col(boolean("active"))
        .col(text_null("description"))
        .col(text("metadata"))
        .col(text_null("disabled_reason"))
        .col(big_integer_null("disabled_at"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .to_owned()
}

fn events() -> TableCreateStatement {
    table("events")
        .col(uuid("key").primary_key())
        .col(text("user_id"))
        .col(text("event_id"))
        .col(text("kind"))
        .col(big_integer("created_at"))
        .col(blob("payload"))
        .to_owned()
}

fn deliveries() -> TableCreateStatement {
    table("deliveries")
        .col(uuid("id").primary_key())
        .col(uuid("webhook_id"))
        .col(uuid("event_key"))
        .col(text("event_kind"))
        .col(small_integer("status"))
        .col(small_integer("cause"))
        .col(integer("attempts"))
        .col(integer_null("status_code"))
        .col(text_null("error"))
        .col(big_integer_null("response_time_ms"))
        .col(big_integer("triggered_at"))
        .col(big_integer_null("next_attempt_at"))
        .col(big_integer("payload_size"))
        .col(text_null("response_body"))
        .col(text_null("address"))
        .to_owned()
}

fn attempts() -> TableCreateStatement {
    table("attempts")
        .col(uuid("delivery_id"))
        .col(integer("number"))
        .col(big_integer("started_at"))
        .col(big_integer("response_time_ms"))
        .col(integer_null("status_code"))
        .col(text_null("error_kind"))
        .col(text_null("error"))
        .col(text_null("response_body"))
        .col(text_null("address"))
        .primary_key(Index::create().col("delivery_id").col("number"))
        .to_owned()
}

fn webhook_days() -> TableCreateStatement {
    table("webhook_days")
        .col(uuid("webhook_id"))
        .col(integer("day"))
        .col(big_integer("succeeded"))
        .col(big_integer("failed"))
        .col(big_integer("last_triggered_at"))
        .primary_key(Index::create().col("webhook_id").col("day"))
        .to_owned()
}

fn leases() -> TableCreateStatement {
    table("leases")
        .col(text("name").primary_key())
        .col(text("holder"))
        .col(big_integer("until"))
        .to_owned()
}

fn index(name: &str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(Alias::new(table)).if_not_exists().to_owned();
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [webhooks(), events(), deliveries(), attempts(), webhook_days(), leases()] {
            manager.create_table(table).await?;
        }
        manager.create_index(index("webhooks_by_user", "webhooks", &["user_id", "id"])).await?;
        manager
            .create_index(index(
                "deliveries_by_webhook",
                "deliveries",
                &["webhook_id", "triggered_at", "id"],
            ))
            .await?;
        let unfinished = index("deliveries_unfinished", "deliveries", &["next_attempt_at"])
            .and_where(Expr::col(Alias::new("next_attempt_at")).is_not_null())
            .to_owned();
        manager.create_index(unfinished).await?;
        // Neither is touched by a delivery that succeeds at once.
        let undelivered = index(
            "deliveries_undelivered",
            "deliveries",
            &["webhook_id", "status", "triggered_at", "id"],
        )
        .and_where(Expr::cust("status <> 2"))
        .to_owned();
        manager.create_index(undelivered).await?;
        let by_hand = index("deliveries_by_hand", "deliveries", &["event_key"])
            .and_where(Expr::cust("cause <> 0"))
            .to_owned();
        manager.create_index(by_hand).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["leases", "webhook_days", "attempts", "deliveries", "events", "webhooks"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}
