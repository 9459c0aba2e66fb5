//! The history: from the file until it is caught up with, then live.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait;
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::HistoryEntry;
use crate::embedded::file::QueueFile;
use crate::embedded::queues::Live;
use crate::embedded::rows;

/// Entries read from the file together.
const PAGE: usize = 500;

/// Hands entries to `entries` until nobody reads them.
pub(super) async fn run(
    file: Arc<QueueFile>,
    mut live: broadcast::Receiver<Live>,
    since: Option<OffsetDateTime>,
    entries: mpsc::Sender<HistoryEntry>,
) {
    // `live` was subscribed to before: what is committed from now on is in it, or in the file.
    let since = since.map_or(i64::MAX, |since| since.unix_timestamp() * 1_000);
    let mut cursor = start(&file, since).await;
    let mut caught_up = false;
    loop {
        if !catch_up(&file, &mut cursor, &entries).await {
            return;
        }
        if !std::mem::replace(&mut caught_up, true)
            && entries.send(HistoryEntry::CaughtUp).await.is_err()
        {
            return;
        }
        loop {
            let next = tokio::select! {
                () = entries.closed() => return,
                next = live.recv() => next,
            };
            match next {
                // Read from the file already.
                Ok(Live { seq, .. }) if seq <= cursor => {}
                Ok(Live { seq, event }) => {
                    cursor = seq;
                    if entries.send(HistoryEntry::Event(event)).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// The entry before the first one wanted.
async fn start(file: &QueueFile, since: i64) -> i64 {
    loop {
        let sql = "SELECT coalesce((SELECT min(seq) - 1 FROM history WHERE published_at >= ?),\
                   (SELECT max(seq) FROM history), 0)";
        match file.one(sql, [since.into()]).await {
            Ok(row) => return row.and_then(|row| row.try_get_by_index(0).ok()).unwrap_or(0),
            Err(error) => wait(&error.to_string()).await,
        }
    }
}

/// Reads everything behind `cursor`; false when nobody reads any more.
async fn catch_up(
    file: &QueueFile,
    cursor: &mut i64,
    entries: &mpsc::Sender<HistoryEntry>,
) -> bool {
    loop {
        let rows = match file.db.query_all_raw(rows::history_after(*cursor, PAGE)).await {
            Ok(rows) => rows,
            Err(error) => {
                wait(&error.to_string()).await;
                continue;
            }
        };
        for row in &rows {
            let Ok((seq, event)) = rows::history_entry(row) else {
                continue;
            };
            *cursor = seq;
            // What is no event is rejected by the dispatcher.
            if let Some(event) = event
                && entries.send(HistoryEntry::Event(event)).await.is_err()
            {
                return false;
            }
        }
        if rows.len() < PAGE {
            return true;
        }
    }
}

async fn wait(reason: &str) {
    tracing::warn!("the history cannot be read yet: {reason}");
    tokio::time::sleep(Duration::from_secs(1)).await;
}
