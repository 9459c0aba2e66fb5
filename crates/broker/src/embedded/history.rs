//! The history: from the file what is there, then from memory what comes.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use sea_orm::sqlx::{self, Row};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

use crate::HistoryEntry;
use crate::embedded::clock::unix_millis;
use crate::embedded::{Shelf, rows};

/// Entries read from the file together, at most, in number and bytes.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How long after a failed reading it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Reader {
    shelf: Arc<Shelf>,
    entries: mpsc::Sender<HistoryEntry>,
    committed: watch::Receiver<i64>,
    /// Everything up to this id was handed on.
    cursor: i64,
    /// What was there when reading began ends here; `None` once that was told.
    end: Option<i64>,
}

/// From when on the history is whole: since its first entry when others were removed before it,
/// else for as long as entries are kept.
pub(super) async fn begins(shelf: &Shelf, age: Duration) -> Result<OffsetDateTime, sqlx::Error> {
    let kept = OffsetDateTime::now_utc() - age;
    let sql = "SELECT at, upto, kind, head, body FROM events ORDER BY id LIMIT 1";
    let Some(row) = sqlx::query(sql).fetch_optional(&shelf.file.readers).await? else {
        return Ok(kept);
    };
    let (at, upto): (i64, i64) = (row.try_get("at")?, row.try_get("upto")?);
    let first = OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(at);
    // The count of bytes begins with the very first entry.
    let very_first = rows::message(&row)
        .is_ok_and(|message| i64::try_from(message.bytes()).is_ok_and(|bytes| upto <= bytes));
    Ok(if very_first { first.min(kept) } else { first })
}

/// Nobody reads any more.
struct Unread;

impl Reader {
    /// From here on nothing is missed.
    pub(super) fn new(shelf: Arc<Shelf>, entries: mpsc::Sender<HistoryEntry>) -> Self {
        shelf.recent.join();
        let committed = shelf.recent.committed();
        let end = *committed.borrow();
        Self { shelf, entries, committed, cursor: end, end: Some(end) }
    }

    /// Hands entries on until nobody reads them.
    pub(super) async fn run(mut self, since: Option<OffsetDateTime>) {
        if let Some(since) = since {
            self.cursor = self.start(unix_millis(since)).await;
        }
        while self.go_on().await.is_ok() {}
    }

    async fn go_on(&mut self) -> Result<(), Unread> {
        let committed = *self.committed.borrow_and_update();
        match self.shelf.recent.after(self.cursor) {
            Some(events) if events.is_empty() => {
                self.cursor = self.cursor.max(committed);
                self.tell_caught_up().await?;
                tokio::select! {
                    () = self.entries.closed() => return Err(Unread),
                    changed = self.committed.changed() => changed.map_err(|_| Unread)?,
                }
            }
            Some(events) => {
                for (id, event) in events {
                    self.hand_on(id, Some(event)).await?;
                }
            }
            None => self.read_page(committed).await?,
        }
        Ok(())
    }

    async fn read_page(&mut self, committed: i64) -> Result<(), Unread> {
        let sql = "SELECT id, kind, head, body FROM events
                   WHERE id > ? AND id <= ? AND kind IS NOT NULL ORDER BY id LIMIT ?";
        let most = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let page = sqlx::query(sql).bind(self.cursor).bind(committed).bind(most);
        let mut found = page.fetch(&self.shelf.file.readers);
        let mut events = Vec::new();
        let mut bytes = 0;
        let whole = loop {
            match found.try_next().await {
                Ok(Some(row)) => {
                    // A damaged row is passed over: the others are worth reading.
                    let message = rows::message(&row).ok();
                    bytes += message.as_ref().map_or(0, |message| message.bytes());
                    let event = message.and_then(|message| message.read_event().ok());
                    events.push((row.try_get("id").unwrap_or(self.cursor), event));
                    if bytes > PAGE_BYTES {
                        break false;
                    }
                }
                Ok(None) => break events.len() < PAGE,
                Err(error) => {
                    self.wait(&error).await;
                    return Ok(());
                }
            }
        };
        drop(found);
        for (id, event) in events {
            self.hand_on(id, event).await?;
        }
        if whole {
            self.cursor = self.cursor.max(committed);
        }
        Ok(())
    }

    /// `None` for what is no event: the dispatcher rejects it.
    async fn hand_on(&mut self, id: i64, event: Option<domain::Event>) -> Result<(), Unread> {
        if self.end.is_some_and(|end| id > end) {
            self.tell_caught_up().await?;
        }
        self.cursor = id;
        match event {
            Some(event) => self.entries.send(HistoryEntry::Event(event)).await.map_err(|_| Unread),
            None => Ok(()),
        }
    }

    async fn tell_caught_up(&mut self) -> Result<(), Unread> {
        match self.end.take() {
            Some(_) => self.entries.send(HistoryEntry::CaughtUp).await.map_err(|_| Unread),
            None => Ok(()),
        }
    }

    /// The entry before the first one wanted. Times never go back in the file, so that halving
    /// finds it.
    async fn start(&self, since: i64) -> i64 {
        let (mut before, mut at_most) = (0, self.cursor);
        while before < at_most {
            let middle = before + (at_most - before) / 2;
            let sql = "SELECT at >= ? FROM events WHERE id > ? ORDER BY id LIMIT 1";
            match self.shelf.file.number(sql, &[since, middle]).await {
                Ok(Some(0)) => before = middle + 1,
                Ok(_) => at_most = middle,
                Err(error) => self.wait(&error).await,
            }
        }
        before
    }

    async fn wait(&self, error: &sqlx::Error) {
        let reason = self.shelf.file.trouble(error);
        tracing::warn!("the history cannot be read yet: {reason}");
        tokio::time::sleep(AGAIN).await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shelf.recent.leave();
    }
}
