//! How the queues are doing, read from the file.

use std::sync::atomic::Ordering;

use sea_orm::sqlx;
use time::OffsetDateTime;

use crate::embedded::Shelf;
use crate::embedded::clock::millis;
use crate::embedded::lane::Name;
use crate::topology::WAIT;
use crate::{BrokerError, Queue, QueueState};

/// Of what is delayed: how many, and when the first of them came.
const WAITING: [&str; 2] = [
    "SELECT count(*) FROM messages WHERE lane = 1 AND ready_at > ? AND delay = ?",
    "SELECT min(ready_at) - max(delay) FROM messages WHERE lane = 1 AND ready_at > ? AND delay = ?",
];
/// Of what is ready: how many, and since when the first of them is.
const READY: [&str; 2] = [
    "SELECT count(*) FROM messages WHERE lane = ? AND ready_at <= ?",
    "SELECT min(ready_at) FROM messages WHERE lane = ? AND ready_at <= ?",
];
const DISPATCH: [&str; 2] = [
    "SELECT count(*) FROM pending",
    "SELECT at FROM events WHERE id = (SELECT min(id) FROM pending)",
];

pub(super) async fn inspect(shelf: &Shelf, queue: Queue) -> Result<QueueState, BrokerError> {
    let now = shelf.clock.now();
    let (name, [count, oldest], values) = match queue {
        Queue::Dispatch => (Some(Name::Dispatch), DISPATCH, Vec::new()),
        Queue::Deliver => (Some(Name::Deliver), READY, vec![Name::Deliver as i64, now]),
        Queue::Rejected => (Some(Name::Rejected), READY, vec![Name::Rejected as i64, now]),
        Queue::Wait => (None, WAITING, vec![now, millis(WAIT)]),
        Queue::Retry(delay) => (None, WAITING, vec![now, millis(delay)]),
    };
    let values = &values;
    let read = |sql| async move {
        let found: Result<_, sqlx::Error> = shelf.file.number(sql, values).await;
        found.map_err(|e| BrokerError::Unavailable(shelf.file.trouble(&e)))
    };
    let messages = read(count).await?.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    let oldest = read(oldest)
        .await?
        .map(i128::from)
        .and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(at * 1_000_000).ok());
    let lane = name.map(|name| shelf.lane(name));
    Ok(QueueState {
        messages,
        // Nobody takes from delay queues: what is due goes to studio.deliver.
        consumers: lane.map_or(0, |lane| u32::try_from(lane.consumers()).unwrap_or(u32::MAX)),
        oldest,
        finished: lane.map(|lane| lane.finished.load(Ordering::Relaxed)),
    })
}
