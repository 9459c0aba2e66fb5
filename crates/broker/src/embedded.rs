//! Durable queues in a SQLite file of the process's own. One writer gathers what is to be
//! written (publishes and acknowledgements alike) into one transaction with one fsync; what is
//! committed goes from memory straight to whoever waits for it.

mod consumer;
mod file;
mod history;
mod queues;
mod rows;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use domain::MAX_EVENT_BYTES;
use time::OffsetDateTime;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::embedded::file::QueueFile;
use crate::embedded::queues::Queues;
use crate::embedded::writer::{Command, Publication};
use crate::{
    Broker, BrokerConfig, BrokerError, Consumer, ControlMessage, ControlReader, ControlSignal,
    Health, HistoryReader, Outgoing, PublishError, Queue, Target,
};

/// What a message may have beyond its event: headers and the owner of a delivery task.
const ENVELOPE: usize = 4 * 1024;

/// Publishes and acknowledgements that wait for the writer; more wait at the door.
const COMMANDS: usize = 4_096;

/// Entries and signals that wait for their reader.
const WAITING: usize = 1_024;

/// The embedded broker.
pub struct EmbeddedBroker {
    file: Arc<QueueFile>,
    queues: Arc<Queues>,
    commands: mpsc::Sender<Command>,
    control: broadcast::Sender<ControlMessage>,
    closing: CancellationToken,
    tasks: TaskTracker,
    writer: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl EmbeddedBroker {
    /// Opens the queues of `config.url`, making the file where there is none.
    ///
    /// # Errors
    /// [`BrokerError::File`] when the file is damaged, not ours, or open in another process.
    pub async fn open(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let path = config.url.strip_prefix("embedded://").unwrap_or_default();
        if path.is_empty() {
            let message = "expected embedded://PATH with the path of a file".to_owned();
            return Err(BrokerError::Config { key: "broker.url", message });
        }
        let file = Arc::new(QueueFile::open(path).await?);
        let queues = Arc::new(Queues::new(file.left_over().await?));
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let writer = writer::Writer::new(file.clone(), queues.clone(), config, receiver).await?;
        Ok(Self {
            writer: tokio::sync::Mutex::new(Some(tokio::spawn(writer.run()))),
            control: broadcast::channel(WAITING).0,
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            file,
            queues,
            commands,
        })
    }

    async fn send(&self, publications: Vec<(Target, Outgoing)>) -> Vec<Result<(), PublishError>> {
        let mut replies = Vec::with_capacity(publications.len());
        for (target, message) in publications {
            replies.push(self.enqueue(target, message).await);
        }
        let mut results = Vec::with_capacity(replies.len());
        for reply in replies {
            results.push(match reply {
                Ok(None) => Ok(()),
                Ok(Some(reply)) => reply.await.unwrap_or_else(|_| Err(closed())),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Hands one message to the writer; `None` for what is kept nowhere.
    async fn enqueue(
        &self,
        target: Target,
        message: Outgoing,
    ) -> Result<Option<oneshot::Receiver<Result<(), PublishError>>>, PublishError> {
        let size = message.body.len();
        if size > MAX_EVENT_BYTES + ENVELOPE {
            return Err(PublishError::TooLarge(size));
        }
        if matches!(target, Target::Notices(_)) {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        let publication = Box::new(Publication::new(target, message, reply));
        self.commands.send(Command::Publish(publication)).await.map_err(|_| closed())?;
        Ok(Some(answer))
    }
}

fn closed() -> PublishError {
    PublishError::Unavailable("the embedded broker is closed".to_owned())
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish(&self, target: Target, message: Outgoing) -> Result<(), PublishError> {
        self.send(vec![(target, message)]).await.pop().unwrap_or_else(|| Err(closed()))
    }

    async fn publish_all(
        &self,
        messages: Vec<(Target, Outgoing)>,
    ) -> Vec<Result<(), PublishError>> {
        self.send(messages).await
    }

    fn consume(&self, queue: Queue, prefetch: u16) -> Consumer {
        let (sender, messages) = mpsc::channel(prefetch.max(1).into());
        let run = consumer::run(
            self.queues.of(queue),
            prefetch.max(1).into(),
            sender,
            self.commands.clone(),
            self.closing.clone(),
        );
        self.tasks.spawn(run);
        Consumer { messages, closing: self.closing.clone() }
    }

    fn history(&self, since: Option<OffsetDateTime>) -> HistoryReader {
        let (sender, entries) = mpsc::channel(WAITING);
        let live = self.queues.live();
        let run = history::run(self.file.clone(), live, since, sender);
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! { () = closing.cancelled() => {}, () = run => {} }
        });
        HistoryReader { entries }
    }

    async fn announce(&self, message: &ControlMessage) -> Result<(), PublishError> {
        // Nobody listening is no error.
        self.control.send(message.clone()).ok();
        Ok(())
    }

    fn control(&self) -> ControlReader {
        let (sender, signals) = mpsc::channel(WAITING);
        let mut announced = self.control.subscribe();
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            loop {
                let signal = tokio::select! {
                    () = closing.cancelled() => return,
                    () = sender.closed() => return,
                    message = announced.recv() => match message {
                        Ok(message) => ControlSignal::Message(message),
                        Err(broadcast::error::RecvError::Lagged(_)) => ControlSignal::Gap,
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                };
                if sender.send(signal).await.is_err() {
                    return;
                }
            }
        });
        ControlReader { signals }
    }

    fn health(&self) -> Health {
        match self.queues.trouble() {
            None => Health::Ready,
            Some(reason) => Health::Away(reason),
        }
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.file.depth(queue).await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // After every consumer, so that their last acknowledgements are written.
        if let Some(writer) = self.writer.lock().await.take() {
            self.commands.send(Command::Close).await.ok();
            drop(writer.await);
        }
        self.file.close().await;
    }
}
