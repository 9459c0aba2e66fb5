//! The broker: durable queues between the services, behind one small interface with two
//! implementations. [`amqp`] is RabbitMQ; [`embedded`] keeps the queues in a SQLite file of the
//! process's own. Both make the same promises and pass the same tests (`tests/it`):
//!
//! - [`Broker::publish`] returns `Ok` once the message is safe on disk *and* routed.
//! - A message that was taken and not acknowledged comes again, after any crash.
//! - A message sent to a delay queue comes back to `studio.deliver`, never early.
//! - A consumer, once made, survives the broker's absence: it comes back by itself.

mod config;
mod message;
mod topology;

pub mod amqp;
pub mod embedded;

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

pub use config::BrokerConfig;
pub use message::{
    Acker, BacklogChange, BacklogNews, ContentType, ControlMessage, ControlSignal, HistoryEntry,
    Incoming, Outgoing, SignedOut,
};
pub use topology::{Queue, Target};

/// A broker that services share.
pub type SharedBroker = Arc<dyn Broker>;

/// Opens the broker that `config.url` names: `embedded://PATH`, `amqp://…` or `amqps://…`.
///
/// RabbitMQ may be away: it is connected to in the background, and [`Broker::health`] tells.
///
/// # Errors
/// When the URL is no such thing, or the embedded file cannot be opened.
pub async fn open(config: &BrokerConfig) -> Result<SharedBroker, BrokerError> {
    if config.url.file("embedded").is_some() {
        Ok(Arc::new(embedded::EmbeddedBroker::open(config).await?))
    } else {
        Ok(Arc::new(amqp::AmqpBroker::open(config).await?))
    }
}

/// What the services need of a broker.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Publishes one message; returns once the broker confirmed that it is stored and routed.
    ///
    /// # Errors
    /// [`PublishError`] when that is not known within the publish timeout (5 s by default): the
    /// message may or may not have been stored, so publish it again with the same id.
    async fn publish(&self, target: Target, message: Outgoing) -> Result<(), PublishError>;

    /// Publishes many at once, each with its own result, in the order given.
    async fn publish_all(&self, messages: Vec<(Target, Outgoing)>)
    -> Vec<Result<(), PublishError>>;

    /// Consumes `queue` with at most `prefetch` messages unacknowledged.
    fn consume(&self, queue: Queue, prefetch: u16) -> Consumer;

    /// Reads the history of events, from `since` (earlier ones may come too) or from now on;
    /// [`HistoryEntry::CaughtUp`] tells once when everything that was there has been read.
    fn history(&self, since: Option<OffsetDateTime>) -> HistoryReader;

    /// From when on the history is whole, as far as can be said: what was published before may
    /// have been removed already.
    ///
    /// # Errors
    /// [`BrokerError`] when the broker is away.
    async fn history_begins(&self) -> Result<OffsetDateTime, BrokerError>;

    /// Tells every process (this one included) something that is not worth keeping.
    ///
    /// # Errors
    /// [`PublishError`] when the broker is away.
    async fn announce(&self, message: &ControlMessage) -> Result<(), PublishError>;

    /// What is announced from now on.
    fn control(&self) -> ControlReader;

    /// Whether other processes may use the same broker at the same time.
    fn is_shared(&self) -> bool;

    /// Whether the broker can be reached for publishing and consuming right now.
    fn health(&self) -> Health;

    /// How `queue` is doing, for operators and metrics.
    ///
    /// # Errors
    /// [`BrokerError`] when the broker is away.
    async fn inspect(&self, queue: Queue) -> Result<QueueState, BrokerError>;

    /// Messages in `queue`.
    ///
    /// # Errors
    /// [`BrokerError`] when the broker is away.
    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        Ok(self.inspect(queue).await?.messages)
    }

    /// Stops consuming, hands back what is not acknowledged, and closes. What is being
    /// published finishes.
    async fn close(&self);
}

/// How a queue is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Messages that wait in it; those taken and not settled do not count on RabbitMQ.
    pub messages: u64,
    /// Who takes from it.
    pub consumers: u32,
    /// When the oldest of its messages came, where the broker can tell.
    pub oldest: Option<OffsetDateTime>,
    /// Messages that were finished since this process opened the broker, where it can tell.
    pub finished: Option<u64>,
}

/// What a consumer yields, and how it is ended: [`Consumer::next`] gives messages until the
/// broker is closed or the consumer dropped; what is unacknowledged then goes back.
pub struct Consumer {
    pub(crate) messages: tokio::sync::mpsc::Receiver<Incoming>,
    /// After the close nothing can be settled any more, so nothing more is given out.
    pub(crate) closing: tokio_util::sync::CancellationToken,
    /// Cancelled once the broker hands out nothing more.
    pub(crate) ended: tokio_util::sync::CancellationToken,
}

impl Consumer {
    /// The next message; `None` once the broker was closed. Away, the broker is waited for.
    pub async fn next(&mut self) -> Option<Incoming> {
        let message = self.messages.recv().await?;
        (!self.closing.is_cancelled()).then_some(message)
    }

    /// Takes no more; gives back what was not read. What is handed back after this is not handed
    /// out to this consumer again, and so keeps its order.
    pub async fn end(mut self) -> Vec<Incoming> {
        self.messages.close();
        self.ended.cancelled().await;
        let mut unread = Vec::new();
        while let Ok(message) = self.messages.try_recv() {
            unread.push(message);
        }
        unread
    }
}

/// Entries of the history, in order.
pub struct HistoryReader {
    pub(crate) entries: tokio::sync::mpsc::Receiver<HistoryEntry>,
}

impl HistoryReader {
    /// The next entry; `None` once the broker was closed.
    pub async fn next(&mut self) -> Option<HistoryEntry> {
        self.entries.recv().await
    }
}

/// What is announced to every process.
pub struct ControlReader {
    pub(crate) signals: tokio::sync::mpsc::Receiver<ControlSignal>,
}

impl ControlReader {
    /// The next signal; `None` once the broker was closed.
    pub async fn next(&mut self) -> Option<ControlSignal> {
        self.signals.recv().await
    }
}

/// Whether the broker can be used, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Publishing and consuming work.
    Ready,
    /// Something is missing; the text names it for operators, without passwords.
    Away(String),
}

/// A message was not confirmed. Publish it again with the same id, or tell the publisher to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker is away, blocked (out of memory or disk), or did not confirm in time.
    #[error("the broker is away: {0}")]
    Unavailable(String),
    /// The broker took the message and had no queue for it, or its queue refused it.
    #[error("the broker refused the message: {0}")]
    Refused(String),
    /// The message is over the limit.
    #[error("the message has {0} bytes; at most {limit} are taken", limit = domain::MAX_EVENT_BYTES)]
    TooLarge(usize),
}

/// The broker cannot be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A setting is wrong.
    #[error("{key}: {message}")]
    Config {
        /// The setting, such as `broker.url`.
        key: &'static str,
        /// What is wrong and what is expected.
        message: String,
    },
    /// The broker is away.
    #[error("the broker is away: {0}")]
    Unavailable(String),
    /// The file of the embedded broker cannot be used.
    #[error("the queue file {path}: {message}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}
