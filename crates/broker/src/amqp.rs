//! RabbitMQ, by lapin. Its own recovery stays off, because it can hang without a word; every
//! reader here is a supervised task that connects, declares, consumes until anything goes
//! wrong, and begins anew.

mod consumer;
mod control;
mod declare;
mod history;
mod link;
mod properties;
mod publisher;
mod settle;

use std::sync::Arc;

use async_trait::async_trait;
use domain::MAX_EVENT_BYTES;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::amqp::link::Link;
use crate::amqp::publisher::Publisher;
use crate::{
    Broker, BrokerConfig, BrokerError, Consumer, ControlMessage, ControlReader, Health,
    HistoryReader, Outgoing, PublishError, Queue, Target,
};

/// What a message may have beyond its event: headers and the owner of a delivery task.
const ENVELOPE: usize = 4 * 1024;

/// Entries of the history, or signals, that wait for their reader.
const WAITING: usize = 1_024;

/// RabbitMQ.
pub struct AmqpBroker {
    link: Arc<Link>,
    publisher: Arc<Publisher>,
}

impl AmqpBroker {
    /// Begins to connect; the broker may be away.
    ///
    /// # Errors
    /// When the URL is no `amqp://` or `amqps://` URL.
    pub async fn open(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let link = Arc::new(Link::new(config)?);
        let publisher = Arc::new(Publisher::new(link.clone(), config));
        tokio::spawn(publisher::keep_connected(publisher.clone()));
        Ok(Self { link, publisher })
    }
}

#[async_trait]
impl Broker for AmqpBroker {
    async fn publish(&self, target: Target, message: Outgoing) -> Result<(), PublishError> {
        check_size(&message)?;
        self.publisher.publish(&target, message).await
    }

    async fn publish_all(
        &self,
        messages: Vec<(Target, Outgoing)>,
    ) -> Vec<Result<(), PublishError>> {
        let publishing = messages.into_iter().map(|(target, message)| async move {
            check_size(&message)?;
            self.publisher.publish(&target, message).await
        });
        // Joined, they are sent one after the other and confirmed together.
        futures::future::join_all(publishing).await
    }

    fn consume(&self, queue: Queue, prefetch: u16) -> Consumer {
        let (sender, messages) = mpsc::channel(prefetch.max(1).into());
        tokio::spawn(consumer::run(self.link.clone(), queue, prefetch, sender));
        Consumer { messages }
    }

    fn history(&self, since: Option<OffsetDateTime>) -> HistoryReader {
        let (sender, entries) = mpsc::channel(WAITING);
        tokio::spawn(history::run(self.link.clone(), since, sender));
        HistoryReader { entries }
    }

    async fn announce(&self, message: &ControlMessage) -> Result<(), PublishError> {
        let body = serde_json::to_vec(message).expect("control messages are plain JSON");
        self.publisher.announce(Outgoing::json(body.into())).await
    }

    fn control(&self) -> ControlReader {
        let (sender, signals) = mpsc::channel(WAITING);
        tokio::spawn(control::run(self.link.clone(), sender));
        ControlReader { signals }
    }

    fn health(&self) -> Health {
        match self.publisher.trouble().or_else(|| self.link.detached()) {
            None => Health::Ready,
            Some(reason) => Health::Away(reason),
        }
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        let away = |e: lapin::Error| BrokerError::Unavailable(e.to_string());
        let connection = self.link.connect().await.map_err(away)?;
        let channel = connection.create_channel().await.map_err(away)?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel
            .queue_declare(queue.to_string().into(), passive, FieldTable::default())
            .await
            .map_err(away)?;
        let depth = declared.message_count().into();
        drop(connection.close(200, "OK".into()).await);
        Ok(depth)
    }

    async fn close(&self) {
        self.link.close().await;
        self.publisher.close();
    }
}

fn check_size(message: &Outgoing) -> Result<(), PublishError> {
    let size = message.body.len();
    if size > MAX_EVENT_BYTES + ENVELOPE {
        return Err(PublishError::TooLarge(size));
    }
    Ok(())
}
