//! The stream of all events, read from a time on.

use std::sync::Arc;
use std::time::Duration;

use domain::Origin;
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::amqp::declare::HISTORY;
use crate::amqp::link::{Ended, Interrupted, Link, Session, supervise};
use crate::amqp::properties;
use crate::message::read_event;
use crate::{ContentType, HistoryEntry};

/// Entries on the way, at most; the stream needs a limit.
const PREFETCH: u16 = 1_000;

/// Entries acknowledged together: the broker sends more once half of them are.
const ACK_EVERY: u32 = 250;

/// Nothing for this long after the start means that all that was there has been read.
const QUIET: Duration = Duration::from_millis(250);

/// Where reading goes on after an interruption.
struct Position {
    since: OffsetDateTime,
    last: Option<i64>,
    caught_up: bool,
}

/// Hands entries to `entries` until nobody reads them or the link closes.
pub(super) async fn run(
    link: Arc<Link>,
    since: Option<OffsetDateTime>,
    entries: mpsc::Sender<HistoryEntry>,
) {
    let closing = link.closing.clone();
    let position = Position {
        since: since.unwrap_or_else(OffsetDateTime::now_utc),
        last: None,
        caught_up: false,
    };
    let position = Arc::new(tokio::sync::Mutex::new(position));
    supervise(link, "the reader of studio.history".into(), |session| {
        let (position, entries, closing) = (position.clone(), entries.clone(), closing.clone());
        async move {
            let mut position = position.lock().await;
            let reading = read(&session, &mut position, &entries);
            let ended = tokio::select! {
                () = closing.cancelled() => Ended::Done,
                () = entries.closed() => Ended::Done,
                result = reading => result.map_or_else(Ended::Interrupted, |()| Ended::Done),
            };
            if matches!(ended, Ended::Done) {
                session.leave().await;
            }
            ended
        }
    })
    .await;
}

async fn read(
    session: &Session,
    position: &mut Position,
    entries: &mpsc::Sender<HistoryEntry>,
) -> Result<(), Interrupted> {
    let channel = &session.channel;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), offset(position));
    let options = BasicConsumeOptions::default();
    let mut deliveries =
        channel.basic_consume(HISTORY.into(), "".into(), options, arguments).await?;
    session.attached();
    let mut unacknowledged = 0;
    loop {
        let next = tokio::time::timeout(QUIET, deliveries.next()).await;
        let Ok(next) = next else {
            if !std::mem::replace(&mut position.caught_up, true)
                && entries.send(HistoryEntry::CaughtUp).await.is_err()
            {
                return Ok(());
            }
            continue;
        };
        let delivery = next.ok_or(Interrupted::Cancelled)??;
        let tag = delivery.delivery_tag;
        position.last = properties::stream_offset(&delivery.properties).or(position.last);
        if let Some(entry) = entry(delivery)
            && entries.send(entry).await.is_err()
        {
            return Ok(());
        }
        unacknowledged += 1;
        if unacknowledged == ACK_EVERY {
            channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
            unacknowledged = 0;
        }
    }
}

/// After the last entry; at first from the time asked for. A time must be a timestamp: an integer
/// would be taken for an offset.
fn offset(position: &Position) -> AMQPValue {
    match position.last {
        Some(last) => AMQPValue::LongLongInt(last + 1),
        None => AMQPValue::Timestamp(position.since.unix_timestamp().try_into().unwrap_or(0)),
    }
}

/// `None` for what is no event: the dispatcher rejects it.
fn entry(delivery: Delivery) -> Option<HistoryEntry> {
    let properties = &delivery.properties;
    let origin = Origin {
        message_id: properties.message_id().as_ref().map(|id| id.as_str().to_owned()),
        timestamp: properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok()),
        routing_key: Some(delivery.routing_key.as_str().to_owned()),
        traceparent: None,
    };
    let content_type = properties.content_type().as_ref().map_or("", |text| text.as_str());
    let content_type = ContentType::parse(content_type);
    read_event(content_type, &delivery.data, &origin).ok().map(HistoryEntry::Event)
}
