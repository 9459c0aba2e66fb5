//! Answers kept for idempotency keys, and background jobs.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, blob, blob_null, boolean, integer, small_integer,
    small_integer_null, text, text_null, uuid,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_idempotency_and_jobs"
    }
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).if_not_exists().to_owned()
}

fn idempotency_keys() -> TableCreateStatement {
    table("idempotency_keys")
        .col(text("user_id"))
        .col(text("key"))
        .col(blob("fingerprint"))
        .col(uuid("seed"))
        .col(small_integer_null("status"))
        .col(blob_null("answer"))
        .col(big_integer("created_at"))
        .col(big_integer("locked_until"))
        .primary_key(Index::create().col("user_id").col("key"))
        .to_owned()
}

fn jobs() -> TableCreateStatement {
    table("jobs")
        .col(uuid("id").primary_key())
        .col(uuid("webhook_id"))
        .col(text("user_id"))
        .col(small_integer("kind"))
        .col(small_integer("statuses"))
        .col(big_integer("since"))
        .col(big_integer("until"))
        .col(small_integer("status"))
        .col(text_null("reason"))
        .col(big_integer("total"))
        .col(boolean("total_capped"))
        .col(big_integer("done"))
        .col(big_integer("skipped"))
        .col(big_integer("failed"))
        .col(big_integer_null("history_from"))
        .col(integer("steps"))
        .col(big_integer("cursor_at"))
        .col(uuid("cursor_id"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .col(big_integer_null("finished_at"))
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
        manager.create_table(idempotency_keys()).await?;
        manager.create_table(jobs()).await?;
        let keys = "idempotency_keys";
        manager
            .create_index(index("idempotency_keys_by_user", keys, &["user_id", "created_at"]))
            .await?;
        manager.create_index(index("idempotency_keys_by_age", keys, &["created_at"])).await?;
        manager.create_index(index("jobs_by_webhook", "jobs", &["webhook_id", "id"])).await?;
        let unfinished = index("jobs_unfinished", "jobs", &["id"])
            .and_where(Expr::cust("status < 2"))
            .to_owned();
        manager.create_index(unfinished).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["jobs", "idempotency_keys"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}
