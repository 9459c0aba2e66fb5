//! Keeps a lane filled: reads from the file what did not fit into memory, and what has become
//! due.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use sea_orm::sqlx::{self, Row};
use tokio_util::sync::CancellationToken;

use crate::embedded::Shelf;
use crate::embedded::lane::{Gap, Lane, Name, Place, Ready};
use crate::embedded::rows;

/// Messages read together, at most, in number and bytes.
const PAGE: usize = 1_000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How long after a failed reading it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Without anything due: the notification comes first.
const LONG: Duration = Duration::from_secs(3_600);

pub(super) async fn run(shelf: Arc<Shelf>, lane: Arc<Lane>, closing: CancellationToken) {
    // An earlier process may have left delayed messages.
    let mut look_for_due = lane.name == Name::Deliver;
    loop {
        let failed = match fill(&shelf, &lane, &mut look_for_due).await {
            Ok(()) => None,
            Err(error) => Some(shelf.file.trouble(&error)),
        };
        let wait = match (&failed, lane.next_due()) {
            (Some(_), _) => AGAIN,
            (None, Some(due)) => shelf.clock.until(due),
            (None, None) => LONG,
        };
        let trouble = failed.is_some();
        shelf.condition.note_reading(failed);
        tokio::select! {
            () = closing.cancelled() => return,
            () = lane.wanted.notified(), if !trouble => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn fill(shelf: &Shelf, lane: &Lane, look_for_due: &mut bool) -> Result<(), sqlx::Error> {
    loop {
        let now = shelf.last_place(lane.name).await;
        *look_for_due |= lane.next_due().is_some_and(|due| due <= now.ready_at);
        let gap = lane.gap(now);
        if *look_for_due {
            let sql = "SELECT min(ready_at) FROM messages WHERE lane = ? AND ready_at > ?";
            let next = shelf.file.number(sql, &[lane.name as i64, now.ready_at]).await?;
            if let Some(due) = next {
                lane.expect(due);
            }
            *look_for_due = false;
        }
        let Some(gap) = gap else {
            return Ok(());
        };
        let (messages, whole) = read(shelf, lane, gap).await?;
        lane.load(gap, messages, whole);
    }
}

/// The first messages in the gap, and whether those are all.
async fn read(shelf: &Shelf, lane: &Lane, gap: Gap) -> Result<(Vec<Ready>, bool), sqlx::Error> {
    let most = gap.most.min(PAGE);
    let query = match lane.name {
        Name::Dispatch => {
            let sql = "SELECT id, 0 AS ready_at, kind, head, body
                       FROM pending CROSS JOIN events USING (id)
                       WHERE id > ? AND id <= ? ORDER BY id LIMIT ?";
            sqlx::query(sql).bind(gap.after.id).bind(gap.to.id)
        }
        name => {
            let sql = "SELECT id, ready_at, NULL AS kind, head, body FROM messages
                       WHERE lane = ? AND (ready_at, id) > (?, ?) AND (ready_at, id) <= (?, ?)
                       ORDER BY ready_at, id LIMIT ?";
            sqlx::query(sql)
                .bind(name as i64)
                .bind(gap.after.ready_at)
                .bind(gap.after.id)
                .bind(gap.to.ready_at)
                .bind(gap.to.id)
        }
    };
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let mut found = query.bind(limit).fetch(&shelf.file.readers);
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.try_next().await? {
        let place = Place { ready_at: row.try_get("ready_at")?, id: row.try_get("id")? };
        let (message, redelivered) = (rows::message(&row)?, lane.is_left_over(place));
        bytes += message.bytes();
        let returns = if redelivered { shelf.unclean_ends.load(Ordering::Relaxed) } else { 0 };
        messages.push(Ready { place, message, redelivered, returns });
        if bytes > PAGE_BYTES {
            return Ok((messages, false));
        }
    }
    let whole = messages.len() < most;
    Ok((messages, whole))
}
