//! The stream of all events, read from a time on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use domain::Origin;
use futures::stream::Peekable;
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};
use time::OffsetDateTime;
use tokio::sync::{Mutex, mpsc};

use crate::amqp::declare::HISTORY;
use crate::amqp::link::{Ended, Interrupted, Link, Session, supervise};
use crate::amqp::properties;
use crate::message::read_event;
use crate::{ContentType, HistoryEntry};

/// Entries on the way, at most; the stream needs a limit.
const PREFETCH: u16 = 500;

/// More than the stream keeps as one chunk (8,192): as many are sent to one who asks for the last.
const LARGEST_CHUNK: u16 = 10_000;

/// Entries acknowledged together: the broker sends more as they are.
const ACK_EVERY: u64 = 125;

/// What is there is sent at once; after this long without any of it, nothing is.
const NOTHING: Duration = Duration::from_secs(1);

/// What is known to be there must come within this time. A reader that attaches to the stream just as
/// an entry is written may be sent nothing before the next one: it attaches again, and is patient for
/// twice as long, since on a slow way large entries may only be late.
const WITHHELD: Duration = Duration::from_secs(3);

/// It never waits longer than this before it attaches again.
const LONGEST_WITHHELD: Duration = Duration::from_secs(300);

/// Entries that were read are acknowledged after this long without another: RabbitMQ closes the
/// channel of one who keeps them for `consumer_timeout` (30 minutes).
const IDLE: Duration = Duration::from_secs(5);

/// The last entry read must come again this fast after an interruption; otherwise the stream is
/// another one, made when the broker came back empty.
const SAME_STREAM: Duration = Duration::from_secs(2);

/// The broker's clock may be this much ahead of ours.
const CLOCKS_DIFFER: time::Duration = time::Duration::seconds(2);

/// How long the first entry may take to come; a stream that is empty never sends one.
const FIRST: Duration = Duration::from_secs(2);

/// From when on the history is whole: since its first entry when others were removed before it,
/// else for as long as entries are kept. The stream does not say when an entry came: its event
/// does.
pub(super) async fn begins(link: &Link) -> Result<OffsetDateTime, Interrupted> {
    let kept = OffsetDateTime::now_utc() - link.config.history_age;
    let channel = link.channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut entries = attach(&channel, AMQPValue::LongString("first".into())).await?;
    let mut very_first = false;
    let until = tokio::time::Instant::now() + FIRST;
    let begins = loop {
        let Ok(next) = tokio::time::timeout_at(until, entries.next()).await else {
            break kept;
        };
        let delivery = next.ok_or(Interrupted::Cancelled)??;
        very_first |= properties::stream_offset(&delivery.properties) == Some(0);
        if let Some(HistoryEntry::Event(event)) = entry(delivery) {
            let first = event.occurred_at();
            break if very_first { first.min(kept) } else { first };
        }
    };
    channel.close(200, "OK".into()).await?;
    Ok(begins)
}

/// Where reading goes on after an interruption.
struct Position {
    /// Where it begins, if nothing has been read yet; the end of the stream where `None`.
    since: Option<OffsetDateTime>,
    last: Option<i64>,
    caught_up: bool,
    /// How long it waits for what is known to be there.
    patience: Duration,
}

/// Begins to hand entries to `entries`, until nobody reads them or the link closes.
pub(super) fn start(
    link: Arc<Link>,
    since: Option<OffsetDateTime>,
    entries: mpsc::Sender<HistoryEntry>,
) {
    let closing = link.closing.clone();
    let position = Position { since, last: None, caught_up: false, patience: WITHHELD };
    let position = Arc::new(Mutex::new(position));
    supervise(link, "the reader of studio.history".into(), move |session| {
        let (position, entries, closing) = (position.clone(), entries.clone(), closing.clone());
        async move {
            let mut position = position.lock().await;
            let ended = tokio::select! {
                () = closing.cancelled() => Ended::Done,
                () = entries.closed() => Ended::Done,
                result = position.read(&session, &entries) => {
                    result.map_or_else(Ended::Interrupted, |()| Ended::Done)
                }
            };
            match &ended {
                Ended::Done => session.leave().await,
                Ended::Interrupted(Interrupted::Withheld) => {
                    position.patience = (position.patience * 2).min(LONGEST_WITHHELD);
                }
                Ended::Interrupted(_) => {}
            }
            ended
        }
    });
}

impl Position {
    async fn read(
        &mut self,
        session: &Session,
        entries: &mpsc::Sender<HistoryEntry>,
    ) -> Result<(), Interrupted> {
        let channel = &session.channel;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let mut deliveries = attach(channel, self.offset()).await?.peekable();
        session.attached();
        if self.since.is_none() {
            // From now on: also after an interruption before the first entry.
            self.since = Some(OffsetDateTime::now_utc());
            self.catch_up(entries).await;
        }
        let last = match self.caught_up {
            true => None,
            false => last_entry(channel, &mut deliveries, self.patience).await?,
        };
        let (end, settled) = last.unzip();
        if end.is_none() {
            self.catch_up(entries).await;
        }
        let (mut unproven, mut silent) = (self.last.is_some(), true);
        let (mut tag, mut unacknowledged) = (0, 0);
        loop {
            let next = tokio::select! {
                biased;
                next = deliveries.next() => next,
                () = tokio::time::sleep(SAME_STREAM), if unproven => {
                    self.last = None;
                    return Err(Interrupted::HistoryReset);
                }
                // All that is there is older than what was asked for.
                () = tokio::time::sleep(NOTHING), if silent && !unproven && !self.caught_up => {
                    self.catch_up(entries).await;
                    continue;
                }
                () = tokio::time::sleep(self.patience), if !silent && !self.caught_up => {
                    return Err(Interrupted::Withheld);
                }
                () = tokio::time::sleep(IDLE), if unacknowledged > 0 => {
                    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
                    unacknowledged = 0;
                    continue;
                }
            };
            silent = false;
            let delivery = next.ok_or(Interrupted::Cancelled)??;
            tag = delivery.delivery_tag;
            // A tag is acknowledged once, or the broker closes the channel.
            unacknowledged += u64::from(Some(tag) > settled);
            let offset = properties::stream_offset(&delivery.properties);
            let known = std::mem::take(&mut unproven) && offset == self.last;
            if !known {
                self.advance(offset)?;
                if let Some(entry) = entry(delivery)
                    && entries.send(entry).await.is_err()
                {
                    return Ok(());
                }
            }
            if offset >= end {
                self.catch_up(entries).await;
            }
            if unacknowledged >= ACK_EVERY {
                channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
                unacknowledged = 0;
            }
        }
    }

    /// From the last entry on; at first from the time asked for. A time must be a timestamp: an
    /// integer would be taken for an offset.
    fn offset(&self) -> AMQPValue {
        match (self.last, self.since) {
            (Some(last), _) => AMQPValue::LongLongInt(last),
            (None, Some(since)) => {
                let since = (since - CLOCKS_DIFFER).unix_timestamp();
                AMQPValue::Timestamp(since.try_into().unwrap_or(0))
            }
            (None, None) => AMQPValue::LongString("next".into()),
        }
    }

    /// An offset that was read already belongs to another stream: what went into it meanwhile is
    /// read by time.
    fn advance(&mut self, offset: Option<i64>) -> Result<(), Interrupted> {
        if let (Some(last), Some(offset)) = (self.last, offset)
            && offset <= last
        {
            self.last = None;
            return Err(Interrupted::HistoryReset);
        }
        self.last = offset.or(self.last);
        self.since = Some(OffsetDateTime::now_utc());
        Ok(())
    }

    async fn catch_up(&mut self, entries: &mpsc::Sender<HistoryEntry>) {
        if !std::mem::replace(&mut self.caught_up, true) {
            // Nobody reading any more is noticed elsewhere.
            entries.send(HistoryEntry::CaughtUp).await.ok();
        }
    }
}

/// The offset of the last entry that is there now, and its tag, up to which everything is
/// acknowledged then; `None` where the stream is empty. A second reader is sent the last chunk of
/// the stream, whole: it shows what there is for the first one, `reading`, however slowly that
/// comes.
async fn last_entry(
    channel: &Channel,
    reading: &mut Peekable<Consumer>,
    patience: Duration,
) -> Result<Option<(i64, u64)>, Interrupted> {
    channel.basic_qos(LARGEST_CHUNK, BasicQosOptions::default()).await?;
    let mut last = attach(channel, AMQPValue::LongString("last".into())).await?.peekable();
    tokio::select! {
        () = arrival(&mut last) => {}
        () = arrival(reading) => {}
        () = tokio::time::sleep(NOTHING) => return Ok(None),
    }
    let mut found = None;
    let first = tokio::time::timeout(patience, last.next()).await;
    let mut next = first.map_err(|_| Interrupted::Withheld)?;
    // A chunk is sent in one go: it has come when the broker answers the next question.
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    while let Some(delivery) = next {
        let delivery = delivery?;
        // Every entry of a stream has an offset.
        let offset = properties::stream_offset(&delivery.properties).unwrap_or(0);
        found = Some((offset, delivery.delivery_tag));
        next = last.next().now_or_never().flatten();
    }
    let (_, tag) = found.ok_or(Interrupted::Cancelled)?;
    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
    Ok(found)
}

/// Waits for the next entry, and leaves it there.
async fn arrival(entries: &mut Peekable<Consumer>) {
    Pin::new(entries).peek().await;
}

async fn attach(channel: &Channel, offset: AMQPValue) -> lapin::Result<Consumer> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), offset);
    let options = BasicConsumeOptions::default();
    channel.basic_consume(HISTORY.into(), "".into(), options, arguments).await
}

/// `None` for what is no event: the dispatcher rejects it.
fn entry(delivery: Delivery) -> Option<HistoryEntry> {
    let properties = &delivery.properties;
    let origin = Origin {
        message_id: properties.message_id().as_ref().map(|id| id.as_str().to_owned()),
        timestamp: properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok()),
        routing_key: Some(delivery.routing_key.as_str().to_owned()),
        traceparent: properties::text_header(properties, "traceparent"),
    };
    let content_type = properties.content_type().as_ref().map_or("", |text| text.as_str());
    let content_type = ContentType::parse(content_type);
    read_event(content_type, &delivery.data, &origin).ok().map(HistoryEntry::Event)
}
