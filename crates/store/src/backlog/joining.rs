//! Joining a backlog: its row is there, and stays, until what joins it can be seen by whoever
//! would end it.

use std::collections::BTreeMap;

use domain::UserId;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, Statement};

use super::{BacklogKey, key_of, partitions, webhooks};
use crate::bulk::{self, Column, field, nullable};
use crate::instant::{now, to_micros};
use crate::patience::Patient;

type Transaction = Patient<DatabaseTransaction>;

/// Keeps the rows of these backlogs until the transaction ends, and makes those that are not
/// there, as `holder`'s; gives back which it made. Without any it does nothing.
pub(crate) async fn join<'a>(
    transaction: &Transaction,
    joined: impl Iterator<Item = (BacklogKey, &'a UserId)>,
    holder: Option<&str>,
) -> Result<Vec<BacklogKey>, DbErr> {
    let mut joined: BTreeMap<BacklogKey, &UserId> = joined.collect();
    if joined.is_empty() {
        return Ok(Vec::new());
    }
    // On SQLite nobody else writes meanwhile.
    if transaction.get_database_backend() == DatabaseBackend::Postgres {
        for kept in keep(transaction, &joined).await? {
            joined.remove(&kept);
        }
    }
    if joined.is_empty() { Ok(Vec::new()) } else { make(transaction, &joined, holder).await }
}

/// Locks those that are there, in order, against being ended; others may join them.
async fn keep(
    transaction: &Transaction,
    joined: &BTreeMap<BacklogKey, &UserId>,
) -> Result<Vec<BacklogKey>, DbErr> {
    let keys: Vec<BacklogKey> = joined.keys().copied().collect();
    let sql = "SELECT b.webhook_id, b.partition_key FROM backlogs b \
               JOIN UNNEST($1::uuid[], $2::bigint[]) AS given(w, p) \
               ON b.webhook_id = given.w AND b.partition_key = given.p \
               ORDER BY b.webhook_id, b.partition_key FOR KEY SHARE OF b";
    let values = [webhooks(&keys).array(), partitions(&keys).array()];
    let statement = Statement::from_sql_and_values(DatabaseBackend::Postgres, sql, values);
    transaction.query_all_raw(statement).await?.iter().map(key_of).collect()
}

async fn make(
    transaction: &Transaction,
    joined: &BTreeMap<BacklogKey, &UserId>,
    holder: Option<&str>,
) -> Result<Vec<BacklogKey>, DbErr> {
    let backend = transaction.get_database_backend();
    let keys: Vec<BacklogKey> = joined.keys().copied().collect();
    let users = joined.values().map(|user| user.to_string());
    let fields = vec![
        field("webhook_id", webhooks(&keys)),
        field("partition_key", partitions(&keys)),
        field("user_id", Column::Text(users.collect())),
        nullable("holder", Column::Text(vec![holder.unwrap_or_default().into(); keys.len()])),
        field("began_at", Column::BigInt(vec![to_micros(now()); keys.len()])),
    ];
    // On PostgreSQL somebody may have made it since: then it is locked as if it had been there.
    // The row of a transaction's own making is the one that nobody has locked (`xmax`).
    let conflict = match backend {
        DatabaseBackend::Postgres => {
            "ON CONFLICT (webhook_id, partition_key) DO UPDATE SET user_id = excluded.user_id \
             RETURNING webhook_id, partition_key, (xmax = 0) AS begun"
        }
        _ => {
            "ON CONFLICT (webhook_id, partition_key) DO NOTHING \
             RETURNING webhook_id, partition_key, 1 AS begun"
        }
    };
    let mut begun = Vec::new();
    for statement in bulk::insert(backend, "backlogs", fields, conflict) {
        for row in transaction.query_all_raw(statement).await? {
            if row.try_get("", "begun")? {
                begun.push(key_of(&row)?);
            }
        }
    }
    Ok(begun)
}
