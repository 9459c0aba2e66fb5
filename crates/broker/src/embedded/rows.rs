//! Messages as rows, and back.

use bytes::Bytes;
use domain::{Event, Origin};
use sea_orm::{DatabaseBackend, DbErr, QueryResult, Statement, Value};

use crate::ContentType;
use crate::embedded::queues::Ready;
use crate::message::read_event;

/// Rows of one statement. Few different texts, so that each stays prepared.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Statements that insert `rows` into `table (columns)`, each row as long as `columns`.
pub(super) fn inserts(
    table: &str,
    columns: &[&str],
    rows: Vec<Vec<Value>>,
    suffix: &str,
) -> Vec<Statement> {
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    let head = format!("INSERT INTO {table} ({}) VALUES ", columns.join(","));
    let mut statements = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let size = chunk(rows.len());
        let sql = format!("{head}{}{suffix}", vec![row.as_str(); size].join(","));
        statements.push(statement(sql, rows.by_ref().take(size).flatten()));
    }
    statements
}

/// Statements that delete the messages `ids`.
pub(super) fn deletes(ids: &[i64]) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut left = ids;
    while !left.is_empty() {
        let (now, later) = left.split_at(chunk(left.len()));
        let marks = vec!["?"; now.len()].join(",");
        let sql = format!("DELETE FROM messages WHERE id IN ({marks})");
        statements.push(statement(sql, now.iter().map(|id| Value::from(*id))));
        left = later;
    }
    statements
}

fn chunk(left: usize) -> usize {
    CHUNKS.into_iter().find(|size| *size <= left).unwrap_or(1)
}

pub(super) fn statement(sql: String, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(DatabaseBackend::Sqlite, sql, values)
}

const MESSAGE: &str = "SELECT m.id, m.due_at, \
     coalesce(h.content_type, m.content_type) AS content_type, \
     coalesce(h.message_id, m.message_id) AS message_id, h.routing_key AS routing_key, \
     coalesce(h.headers, m.headers) AS headers, coalesce(h.body, m.body) AS body \
     FROM messages m LEFT JOIN history h ON h.seq = m.history_seq ";

/// The messages of `queue` behind the id `after`, oldest first.
pub(super) fn messages_after(queue: &str, after: i64, limit: usize) -> Statement {
    let sql = format!(
        "{MESSAGE} WHERE m.queue = ? AND m.due_at IS NULL AND m.id > ? ORDER BY m.id LIMIT ?"
    );
    statement(sql, [queue.into(), after.into(), count(limit)])
}

/// The messages due until `now` (unix ms) and behind `after`, the most overdue first.
pub(super) fn messages_due(after: (i64, i64), now: i64, limit: usize) -> Statement {
    let sql = format!(
        "{MESSAGE} WHERE m.due_at IS NOT NULL AND (m.due_at, m.id) > (?, ?) AND m.due_at <= ? \
         ORDER BY m.due_at, m.id LIMIT ?"
    );
    statement(sql, [after.0.into(), after.1.into(), now.into(), count(limit)])
}

/// When the next message behind `after` is due.
pub(super) fn next_due(after: (i64, i64)) -> Statement {
    let sql = "SELECT min(due_at) FROM messages WHERE due_at IS NOT NULL AND (due_at, id) > (?, ?)";
    statement(sql.to_owned(), [after.0.into(), after.1.into()])
}

/// The entries of the history behind `after`.
pub(super) fn history_after(after: i64, limit: usize) -> Statement {
    let sql = "SELECT seq, content_type, message_id, routing_key, headers, body FROM history \
               WHERE seq > ? ORDER BY seq LIMIT ?";
    statement(sql.to_owned(), [after.into(), count(limit)])
}

fn count(limit: usize) -> Value {
    i64::try_from(limit).unwrap_or(i64::MAX).into()
}

/// The message of a row of [`messages_after`] or [`messages_due`], and when it was due.
pub(super) fn ready(row: &QueryResult, left_over: i64) -> Result<(Ready, Option<i64>), DbErr> {
    let id: i64 = row.try_get("", "id")?;
    let headers: String = row.try_get("", "headers")?;
    let ready = Ready {
        id,
        content_type: content_type(row)?,
        message_id: row.try_get("", "message_id")?,
        routing_key: row.try_get("", "routing_key")?,
        headers: serde_json::from_str(&headers).unwrap_or_default(),
        body: Bytes::from(row.try_get::<Vec<u8>>("", "body")?),
        redelivered: id <= left_over,
        returns: 0,
    };
    Ok((ready, row.try_get("", "due_at")?))
}

/// The event of a row of [`history_after`], if it is one.
pub(super) fn history_entry(row: &QueryResult) -> Result<(i64, Option<Event>), DbErr> {
    let origin = Origin {
        message_id: row.try_get("", "message_id")?,
        routing_key: row.try_get("", "routing_key")?,
        ..Origin::default()
    };
    let body: Vec<u8> = row.try_get("", "body")?;
    Ok((row.try_get("", "seq")?, read_event(content_type(row)?, &body, &origin).ok()))
}

/// The stored form of a content type.
pub(super) fn content_type_number(content_type: ContentType) -> i64 {
    match content_type {
        ContentType::Json => 0,
        ContentType::Protobuf => 1,
        ContentType::Other => 2,
    }
}

fn content_type(row: &QueryResult) -> Result<ContentType, DbErr> {
    Ok(match row.try_get::<i64>("", "content_type")? {
        0 => ContentType::Json,
        1 => ContentType::Protobuf,
        _ => ContentType::Other,
    })
}
