//! Rows, in as few statements as there can be.

use std::sync::Arc;

use domain::EventKey;
use sea_orm::sqlx::query::Query;
use sea_orm::sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Row};

use crate::embedded::message::{Message, Shared};

/// Rows of one statement. Few different texts, so that each stays prepared.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

type Statement<'a> = Query<'a, Sqlite, SqliteArguments>;

/// A row of `events`.
pub(super) struct EventRow {
    pub(super) id: i64,
    pub(super) at: i64,
    pub(super) upto: i64,
    pub(super) key: Option<EventKey>,
    pub(super) message: Shared,
}

/// A row of `messages`.
pub(super) struct MessageRow {
    pub(super) id: i64,
    pub(super) lane: i64,
    pub(super) ready_at: i64,
    pub(super) delay: i64,
    pub(super) message: Shared,
}

/// Inserts events, but for those whose key is there already; says how many were inserted. Should
/// one fail, SQLite undoes the whole transaction (`OR ROLLBACK`), which its writer does anyway, and
/// keeps no copies of pages to undo this statement alone.
pub(super) async fn insert_events(
    connection: &mut SqliteConnection,
    rows: &[EventRow],
) -> Result<u64, sqlx::Error> {
    let mut inserted = 0;
    for rows in chunks(rows) {
        let text = format!(
            "INSERT OR ROLLBACK INTO events (id, at, upto, key, kind, head, body) VALUES {} \
             ON CONFLICT (key) DO NOTHING",
            placeholders(7, rows.len())
        );
        let statement = rows.iter().fold(query(text), |statement, row| {
            statement
                .bind(row.id)
                .bind(row.at)
                .bind(row.upto)
                .bind(row.key.map(|key| key.0.as_bytes().to_vec()))
                .bind(row.message.kind.map(|kind| kind.as_str()))
                .bind(row.message.head())
                .bind(row.message.body.to_vec())
        });
        inserted += statement.execute(&mut *connection).await?.rows_affected();
    }
    Ok(inserted)
}

pub(super) async fn insert_messages(
    connection: &mut SqliteConnection,
    rows: &[MessageRow],
) -> Result<(), sqlx::Error> {
    for rows in chunks(rows) {
        let text = format!(
            "INSERT OR ROLLBACK INTO messages (id, lane, ready_at, delay, head, body) VALUES {}",
            placeholders(6, rows.len())
        );
        let statement = rows.iter().fold(query(text), |statement, row| {
            statement
                .bind(row.id)
                .bind(row.lane)
                .bind(row.ready_at)
                .bind(row.delay)
                .bind(row.message.head())
                .bind(row.message.body.to_vec())
        });
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Deletes the rows `ids` of `table`: runs as ranges, the rest by lists.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    table: &'static str,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let mut singles = Vec::new();
    for run in ids.chunk_by(|before, after| before + 1 == *after) {
        match run {
            [first, .., last] if run.len() > 3 => {
                let text = format!("DELETE FROM {table} WHERE id BETWEEN ? AND ?");
                query(text).bind(*first).bind(*last).execute(&mut *connection).await?;
            }
            few => singles.extend_from_slice(few),
        }
    }
    for ids in chunks(&singles) {
        let marks = vec!["?"; ids.len()].join(",");
        let text = format!("DELETE FROM {table} WHERE id IN ({marks})");
        let statement = ids.iter().fold(query(text), |statement, id| statement.bind(*id));
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The message in the columns `kind`, `head` and `body` of a row.
pub(super) fn message(row: &SqliteRow) -> Result<Shared, sqlx::Error> {
    let (kind, head) = (row.try_get("kind")?, row.try_get("head")?);
    let message = Message::read(kind, head, row.try_get("body")?);
    message.map(Arc::new).map_err(|e| sqlx::Error::Decode(e.into()))
}

/// Every text is made of constants here; values are bound.
fn query<'a>(text: String) -> Statement<'a> {
    sqlx::query(AssertSqlSafe(text))
}

/// `(?,?),(?,?)`
fn placeholders(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

fn chunks<T>(mut left: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| *size <= left.len())?;
        let (now, later) = left.split_at(size);
        left = later;
        Some(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_sizes_and_none_is_left_out() {
        let rows: Vec<usize> = (0..150).collect();
        let sizes: Vec<usize> = chunks(&rows).map(<[usize]>::len).collect();
        assert_eq!(sizes, [64, 64, 16, 4, 1, 1]);
        assert!(chunks(&rows).flatten().eq(&rows));
    }
}
