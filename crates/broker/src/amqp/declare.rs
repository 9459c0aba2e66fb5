//! Exchanges and queues, with the arguments that keep every promise on RabbitMQ 3.10 and 4.x
//! (`docs/publishers.md` lists them). Declared on every connection: a broker may come back
//! empty.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use crate::topology::WAIT;
use crate::{BrokerConfig, Queue};

/// The topic exchange that events are published to.
pub(super) const EVENTS: &str = "studio.events";
/// The fanout exchange of announcements.
pub(super) const CONTROL: &str = "studio.control";
/// The topic exchange of what operators may want to know.
pub(super) const NOTICES: &str = "studio.notices";
/// The stream of all events.
pub(super) const HISTORY: &str = "studio.history";

/// Returns after which a message is given up by the broker. High, because every lost connection
/// counts one for each message of its prefetch; and no -1, which 3.10 takes as "at once".
const RETURNS: i64 = 1_000;
const REJECTED_RETURNS: i64 = 1_000_000;

/// Bytes of one segment of the stream: retention drops whole segments.
const SEGMENT: i64 = 20_000_000;

/// Something of the topology cannot be declared, or is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeclareError {
    /// It was declared with other arguments; only its owner can say which are right.
    #[error(
        "{name} is there with other arguments than this version declares ({reason}): let it run \
         empty and delete it, and it is declared anew; or set broker.declare to false if its \
         arguments are yours"
    )]
    Different { name: String, reason: String },
    /// `broker.declare` is false, and these are not there.
    #[error("not on the broker, and broker.declare is false: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// The user has no permission for it.
    #[error("the broker's user may not declare or use {name}: {reason}")]
    Forbidden { name: String, reason: String },
    #[error("{0}")]
    Broker(#[from] lapin::Error),
}

/// Declares everything, or, where `broker.declare` is false, checks that it is there.
pub(super) async fn topology(
    connection: &Connection,
    config: &BrokerConfig,
) -> Result<(), DeclareError> {
    let channel = connection.create_channel().await?;
    let mut declare =
        Declare { connection, channel, passive: !config.declare, missing: Vec::new() };
    declare.exchange(EVENTS, ExchangeKind::Topic).await?;
    declare.exchange(CONTROL, ExchangeKind::Fanout).await?;
    declare.exchange(NOTICES, ExchangeKind::Topic).await?;
    // Targets before the queues that dead-letter to them.
    declare.quorum(Queue::Rejected, rejected()).await?;
    declare.quorum(Queue::Deliver, work()).await?;
    for delay in &config.retry_delays {
        declare.quorum(Queue::Retry(*delay), delayed(*delay)).await?;
    }
    declare.quorum(Queue::Wait, delayed(WAIT)).await?;
    declare.quorum(Queue::Dispatch, work()).await?;
    declare.queue(HISTORY, history(config)).await?;
    if !declare.missing.is_empty() {
        return Err(DeclareError::Missing(declare.missing));
    }
    if config.declare {
        bind(&declare.channel, &Queue::Dispatch.to_string()).await?;
        bind(&declare.channel, HISTORY).await?;
    }
    Ok(declare.channel.close(200, "OK".into()).await?)
}

struct Declare<'a> {
    connection: &'a Connection,
    channel: Channel,
    passive: bool,
    missing: Vec<String>,
}

impl Declare<'_> {
    async fn exchange(&mut self, name: &str, kind: ExchangeKind) -> Result<(), DeclareError> {
        let options = ExchangeDeclareOptions {
            durable: true,
            passive: self.passive,
            ..ExchangeDeclareOptions::default()
        };
        let arguments = FieldTable::default();
        let declared = self.channel.exchange_declare(name.into(), kind, options, arguments).await;
        self.judge(name, declared).await
    }

    async fn quorum(
        &mut self,
        queue: Queue,
        mut arguments: FieldTable,
    ) -> Result<(), DeclareError> {
        insert(&mut arguments, "x-queue-type", text("quorum"));
        self.queue(&queue.to_string(), arguments).await
    }

    async fn queue(&mut self, name: &str, arguments: FieldTable) -> Result<(), DeclareError> {
        let options = QueueDeclareOptions {
            durable: true,
            passive: self.passive,
            ..QueueDeclareOptions::default()
        };
        let declared = self.channel.queue_declare(name.into(), options, arguments).await;
        self.judge(name, declared.map(drop)).await
    }

    async fn judge(
        &mut self,
        name: &str,
        declared: Result<(), lapin::Error>,
    ) -> Result<(), DeclareError> {
        let Err(error) = declared else {
            return Ok(());
        };
        let ErrorKind::ProtocolError(refusal) = error.kind() else {
            return Err(error.into());
        };
        let (name, reason) = (name.to_owned(), refusal.get_message().to_string());
        match refusal.get_id() {
            404 if self.passive => {
                self.missing.push(name);
                // The refusal closed the channel.
                self.channel = self.connection.create_channel().await?;
                Ok(())
            }
            406 => Err(DeclareError::Different { name, reason }),
            403 => Err(DeclareError::Forbidden { name, reason }),
            _ => Err(error.into()),
        }
    }
}

async fn bind(channel: &Channel, queue: &str) -> Result<(), lapin::Error> {
    let options = QueueBindOptions::default();
    channel
        .queue_bind(queue.into(), EVENTS.into(), "#".into(), options, FieldTable::default())
        .await
}

/// Dead-lettering to `queue` that loses nothing: all four are needed, or it silently becomes
/// at-most-once.
fn dead_letter_to(queue: Queue) -> FieldTable {
    let mut arguments = FieldTable::default();
    insert(&mut arguments, "x-dead-letter-exchange", text(""));
    insert(&mut arguments, "x-dead-letter-routing-key", text(&queue.to_string()));
    insert(&mut arguments, "x-dead-letter-strategy", text("at-least-once"));
    insert(&mut arguments, "x-overflow", text("reject-publish"));
    arguments
}

fn work() -> FieldTable {
    let mut arguments = dead_letter_to(Queue::Rejected);
    insert(&mut arguments, "x-delivery-limit", AMQPValue::LongLongInt(RETURNS));
    arguments
}

fn delayed(delay: std::time::Duration) -> FieldTable {
    let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    let mut arguments = dead_letter_to(Queue::Deliver);
    insert(&mut arguments, "x-message-ttl", AMQPValue::LongLongInt(millis));
    arguments
}

fn rejected() -> FieldTable {
    let mut arguments = FieldTable::default();
    insert(&mut arguments, "x-delivery-limit", AMQPValue::LongLongInt(REJECTED_RETURNS));
    arguments
}

fn history(config: &BrokerConfig) -> FieldTable {
    let bytes = i64::try_from(config.history_bytes).unwrap_or(i64::MAX);
    let mut arguments = FieldTable::default();
    insert(&mut arguments, "x-queue-type", text("stream"));
    insert(&mut arguments, "x-max-age", text(&format!("{}s", config.history_age.as_secs())));
    insert(&mut arguments, "x-max-length-bytes", AMQPValue::LongLongInt(bytes));
    insert(&mut arguments, "x-stream-max-segment-size-bytes", AMQPValue::LongLongInt(SEGMENT));
    arguments
}

fn insert(arguments: &mut FieldTable, name: &str, value: AMQPValue) {
    arguments.insert(name.into(), value);
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
