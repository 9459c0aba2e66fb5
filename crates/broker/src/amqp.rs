//! RabbitMQ, by lapin. Its own recovery stays off, because it can hang without a word; every
//! reader here is a supervised task that connects, declares, consumes until anything goes
//! wrong, and begins anew.

mod consumer;
mod control;
mod courier;
mod declare;
mod history;
mod link;
mod properties;
mod publisher;
mod settle;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::amqp::link::Link;
use crate::amqp::publisher::Publisher;
use crate::{
    Broker, BrokerConfig, BrokerError, Consumer, ControlMessage, ControlReader, Health,
    HistoryReader, Outgoing, PublishError, Queue, QueueState, Target,
};

/// Entries of the history, or signals, that wait for their reader.
const WAITING: usize = 256;

/// How long a close waits for what is being published.
const LAST_PUBLISHES: Duration = Duration::from_secs(5);

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
        let publisher = Publisher::start(link.clone(), config);
        Ok(Self { link, publisher })
    }
}

#[async_trait]
impl Broker for AmqpBroker {
    async fn publish(&self, target: Target, message: Outgoing) -> Result<(), PublishError> {
        let mut results = self.publisher.publish(vec![(target, message)]).await;
        results.pop().expect("one message has one result")
    }

    async fn publish_all(
        &self,
        messages: Vec<(Target, Outgoing)>,
    ) -> Vec<Result<(), PublishError>> {
        self.publisher.publish(messages).await
    }

    fn consume(&self, queue: Queue, prefetch: u16) -> Consumer {
        let (sender, messages) = mpsc::channel(prefetch.max(1).into());
        let ended = CancellationToken::new();
        consumer::start(self.link.clone(), queue, prefetch.max(1), sender, ended.clone());
        Consumer { messages, closing: self.link.closing.clone(), ended }
    }

    fn history(&self, since: Option<OffsetDateTime>) -> HistoryReader {
        let (sender, entries) = mpsc::channel(WAITING);
        history::start(self.link.clone(), since, sender);
        HistoryReader { entries }
    }

    async fn history_begins(&self) -> Result<OffsetDateTime, BrokerError> {
        history::begins(&self.link).await.map_err(|e| BrokerError::Unavailable(e.to_string()))
    }

    async fn announce(&self, message: &ControlMessage) -> Result<(), PublishError> {
        let body = serde_json::to_vec(message).expect("control messages are plain JSON");
        self.publisher.announce(Outgoing::json(body.into())).await
    }

    fn control(&self) -> ControlReader {
        let (sender, signals) = mpsc::channel(WAITING);
        control::start(self.link.clone(), sender);
        ControlReader { signals }
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn health(&self) -> Health {
        let trouble: Vec<String> =
            [self.publisher.trouble(), self.link.detached()].into_iter().flatten().collect();
        if trouble.is_empty() { Health::Ready } else { Health::Away(trouble.join("; ")) }
    }

    async fn inspect(&self, queue: Queue) -> Result<QueueState, BrokerError> {
        let away = |e: lapin::Error| BrokerError::Unavailable(e.to_string());
        let channel = self.link.channel().await;
        let channel = channel.map_err(|e| BrokerError::Unavailable(e.to_string()))?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel
            .queue_declare(queue.to_string().into(), passive, FieldTable::default())
            .await
            .map_err(away)?;
        channel.close(200, "OK".into()).await.map_err(away)?;
        Ok(QueueState {
            messages: declared.message_count().into(),
            consumers: declared.consumer_count(),
            oldest: None,
            finished: None,
        })
    }

    async fn close(&self) {
        self.link.close().await;
        self.publisher.close(LAST_PUBLISHES).await;
    }
}

impl Drop for AmqpBroker {
    /// Without a close, readers and connections must not outlive their broker.
    fn drop(&mut self) {
        self.link.closing.cancel();
    }
}
