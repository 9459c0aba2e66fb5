//! Durable queues in a SQLite file of the process's own. One writer gathers what is to be
//! written (publishes and acknowledgements alike) into one transaction with one fsync; what is
//! committed goes from memory straight to whoever waits for it.

mod clock;
mod condition;
mod consumer;
mod file;
mod history;
mod inspect;
mod keeper;
mod lane;
mod message;
mod recent;
mod retention;
mod rows;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::{self, SqliteConnection};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::embedded::clock::Clock;
use crate::embedded::condition::Condition;
use crate::embedded::file::QueueFile;
use crate::embedded::lane::{Lane, Name, Place};
use crate::embedded::message::Message;
use crate::embedded::recent::Recent;
use crate::embedded::writer::{Command, Parcel, Publication, Writer};
use crate::topology::WAIT;
use crate::{
    Broker, BrokerConfig, BrokerError, Consumer, ControlMessage, ControlReader, ControlSignal,
    Health, HistoryReader, Outgoing, PublishError, Queue, QueueState, Target,
};

/// Commands that wait for the writer; more wait at the door.
const COMMANDS: usize = 1_024;

/// What waits to be written, in KiB, at most.
const ROOM: usize = 32 * 1024;

/// Messages and bytes of one parcel, at most.
const PARCEL: usize = 1_000;
const PARCEL_BYTES: usize = 4 * 1024 * 1024;

/// Entries and signals that wait for their reader.
const WAITING: usize = 256;

/// The embedded broker.
pub struct EmbeddedBroker {
    shelf: Arc<Shelf>,
    commands: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    delays: Vec<Duration>,
    timeout: Duration,
    history_age: Duration,
    control: broadcast::Sender<ControlMessage>,
    closing: CancellationToken,
    /// Tasks belong to the runtime that opened the broker, whoever asks for them.
    runtime: Handle,
    tasks: TaskTracker,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What writer and readers share.
struct Shelf {
    file: QueueFile,
    clock: Clock,
    condition: Condition,
    recent: Recent,
    /// How often in a row the process ended without closing the file, soon after its start; 0 once
    /// this one has lived for a while. What an earlier process left counts as returned so often.
    unclean_ends: AtomicU32,
    lanes: [Arc<Lane>; 3],
    /// The last id that was committed. Held while a transaction is under way.
    committed: Mutex<i64>,
}

impl Shelf {
    fn lane(&self, name: Name) -> &Arc<Lane> {
        &self.lanes[name as usize]
    }

    /// The last place in a lane that can be ready now. Whatever is committed later lies behind.
    async fn last_place(&self, name: Name) -> Place {
        let committed = self.committed.lock().await;
        let ready_at = if name == Name::Dispatch { 0 } else { self.clock.now() };
        Place { ready_at, id: *committed }
    }
}

impl EmbeddedBroker {
    /// Opens the queues of `config.url`, making the file where there is none.
    ///
    /// # Errors
    /// [`BrokerError::File`] when the file is damaged, not ours, or open in another process.
    pub async fn open(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let (file, mut connection) = QueueFile::open(config).await?;
        let found = match Found::look(&mut connection).await {
            Ok(found) => found,
            Err(error) => return Err(BrokerError::Unavailable(file.trouble(&error))),
        };
        let ends = QueueFile::unclean_ends(&mut connection).await.unwrap_or_else(|error| {
            tracing::warn!("earlier starts are not known: {}", file.trouble(&error));
            0
        });
        let left_over = Place { ready_at: found.clock.now(), id: found.last_id };
        let lane = |name| {
            let ready_at = if name == Name::Dispatch { 0 } else { left_over.ready_at };
            Arc::new(Lane::new(name, Place { ready_at, ..left_over }))
        };
        let shelf = Arc::new(Shelf {
            file,
            clock: found.clock,
            condition: Condition::default(),
            recent: Recent::new(found.last_id),
            unclean_ends: AtomicU32::new(ends),
            lanes: [Name::Dispatch, Name::Deliver, Name::Rejected].map(lane),
            committed: Mutex::new(found.last_id),
        });
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let writer = Writer::new(shelf.clone(), connection, config, found.last_id, found.upto);
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        for lane in &shelf.lanes {
            tasks.spawn(keeper::run(shelf.clone(), lane.clone(), closing.clone()));
        }
        Ok(Self {
            shelf,
            commands,
            room: Arc::new(Semaphore::new(ROOM)),
            delays: config.retry_delays.clone(),
            timeout: config.publish_timeout,
            history_age: config.history_age,
            control: broadcast::channel(WAITING).0,
            closing,
            runtime: Handle::current(),
            tasks,
            writer: Mutex::new(Some(tokio::spawn(writer.serve(receiver)))),
        })
    }

    /// What the message asks of the writer; `None` for what is kept nowhere.
    fn publication(
        &self,
        target: Target,
        outgoing: Outgoing,
    ) -> Result<Option<Publication>, PublishError> {
        outgoing.check()?;
        let (lane, delay, kind) = match target {
            Target::Notices(_) => return Ok(None),
            Target::Events(kind) => (Name::Dispatch, Duration::ZERO, Some(kind)),
            Target::Queue(Queue::Dispatch) => (Name::Dispatch, Duration::ZERO, None),
            Target::Queue(Queue::Deliver) => (Name::Deliver, Duration::ZERO, None),
            Target::Queue(Queue::Rejected) => (Name::Rejected, Duration::ZERO, None),
            Target::Queue(Queue::Wait) => (Name::Deliver, WAIT, None),
            Target::Queue(Queue::Retry(delay)) if self.delays.contains(&delay) => {
                (Name::Deliver, delay, None)
            }
            Target::Queue(unknown) => {
                let reason = format!("there is no queue {unknown}: the schedule has no such delay");
                return Err(PublishError::Refused(reason));
            }
        };
        Ok(Some(Publication { lane, delay, message: Arc::new(Message::new(kind, outgoing)) }))
    }

    /// Keeps these together, and waits until they are safe.
    async fn keep(&self, publications: Vec<Publication>) -> Result<(), PublishError> {
        let bytes: usize = publications.iter().map(|p| p.message.bytes_in_memory()).sum();
        let share = u32::try_from(bytes.div_ceil(1_024).clamp(1, ROOM)).unwrap_or(u32::MAX);
        let keeping = async {
            let room = self.room.clone().acquire_many_owned(share).await;
            let room = room.expect("the room is never closed");
            let (verdict, told) = oneshot::channel();
            let parcel = Parcel { publications, verdict, room };
            self.commands.send(Command::Publish(parcel)).await.map_err(|_| closed())?;
            told.await.unwrap_or_else(|_| Err(closed()))
        };
        tokio::time::timeout(self.timeout, keeping).await.unwrap_or_else(|_| {
            let reason = format!("not written within {} ms", self.timeout.as_millis());
            Err(PublishError::Unavailable(reason))
        })
    }
}

fn closed() -> PublishError {
    PublishError::Unavailable("the embedded broker is closed".to_owned())
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish(&self, target: Target, message: Outgoing) -> Result<(), PublishError> {
        match self.publication(target, message)? {
            Some(publication) => self.keep(vec![publication]).await,
            None => Ok(()),
        }
    }

    async fn publish_all(
        &self,
        messages: Vec<(Target, Outgoing)>,
    ) -> Vec<Result<(), PublishError>> {
        let mut results: Vec<Result<(), PublishError>> = Vec::with_capacity(messages.len());
        let (mut parcel, mut indexes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut messages = messages.into_iter().peekable();
        while let Some((target, message)) = messages.next() {
            match self.publication(target, message) {
                Ok(Some(publication)) => {
                    bytes += publication.message.bytes_in_memory();
                    indexes.push(results.len());
                    parcel.push(publication);
                    results.push(Ok(()));
                }
                Ok(None) => results.push(Ok(())),
                Err(error) => results.push(Err(error)),
            }
            let full = parcel.len() >= PARCEL || bytes >= PARCEL_BYTES;
            if !parcel.is_empty() && (full || messages.peek().is_none()) {
                let verdict = self.keep(std::mem::take(&mut parcel)).await;
                indexes.drain(..).for_each(|index| results[index] = verdict.clone());
                bytes = 0;
            }
        }
        results
    }

    fn consume(&self, queue: Queue, prefetch: u16) -> Consumer {
        let prefetch = prefetch.max(1);
        let (messages, taken) = mpsc::channel(prefetch.into());
        // Delay queues have no consumers: what is due goes to studio.deliver.
        let name = match queue {
            Queue::Dispatch => Name::Dispatch,
            Queue::Rejected => Name::Rejected,
            Queue::Deliver | Queue::Retry(_) | Queue::Wait => Name::Deliver,
        };
        let worker = consumer::Worker {
            lane: self.shelf.lane(name).clone(),
            prefetch: prefetch.into(),
            messages,
            commands: self.commands.clone(),
        };
        self.tasks.spawn_on(worker.run(self.closing.clone()), &self.runtime);
        // Whoever reads no more is seen before what it hands back.
        let ended = CancellationToken::new();
        ended.cancel();
        Consumer { messages: taken, closing: self.closing.clone(), ended }
    }

    fn history(&self, since: Option<OffsetDateTime>) -> HistoryReader {
        let (sender, entries) = mpsc::channel(WAITING);
        let reader = history::Reader::new(self.shelf.clone(), sender);
        let closing = self.closing.clone();
        let run = async move {
            tokio::select! { () = closing.cancelled() => {}, () = reader.run(since) => {} }
        };
        self.tasks.spawn_on(run, &self.runtime);
        HistoryReader { entries }
    }

    async fn history_begins(&self) -> Result<OffsetDateTime, BrokerError> {
        let found = history::begins(&self.shelf, self.history_age).await;
        found.map_err(|e| BrokerError::Unavailable(self.shelf.file.trouble(&e)))
    }

    async fn announce(&self, message: &ControlMessage) -> Result<(), PublishError> {
        // Nobody listening is no error.
        self.control.send(message.clone()).ok();
        Ok(())
    }

    fn control(&self) -> ControlReader {
        let (sender, signals) = mpsc::channel(WAITING);
        let run = pass_on(self.control.subscribe(), sender, self.closing.clone());
        self.tasks.spawn_on(run, &self.runtime);
        ControlReader { signals }
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn health(&self) -> Health {
        let misplaced = || self.shelf.file.check_place().err().map(|error| error.to_string());
        self.shelf.condition.trouble().or_else(misplaced).map_or(Health::Ready, Health::Away)
    }

    async fn inspect(&self, queue: Queue) -> Result<QueueState, BrokerError> {
        inspect::inspect(&self.shelf, queue).await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // After every consumer, so that their last acknowledgements are written.
        if let Some(writer) = self.writer.lock().await.take() {
            self.commands.send(Command::Close).await.ok();
            writer.await.ok();
            self.shelf.file.close().await;
        }
    }
}

impl Drop for EmbeddedBroker {
    /// Without a close, tasks must not outlive their broker; what was taken in is written.
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

async fn pass_on(
    mut announced: broadcast::Receiver<ControlMessage>,
    signals: mpsc::Sender<ControlSignal>,
    closing: CancellationToken,
) {
    // As on RabbitMQ: what was announced before is not known.
    let mut signal = ControlSignal::Gap;
    while signals.send(signal).await.is_ok() {
        signal = tokio::select! {
            () = closing.cancelled() => return,
            () = signals.closed() => return,
            message = announced.recv() => match message {
                Ok(message) => ControlSignal::Message(message),
                Err(broadcast::error::RecvError::Lagged(_)) => ControlSignal::Gap,
                Err(broadcast::error::RecvError::Closed) => return,
            },
        };
    }
}

/// What an earlier process left.
struct Found {
    clock: Clock,
    last_id: i64,
    upto: i64,
}

impl Found {
    async fn look(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let mut numbers = Vec::new();
        for sql in [
            "SELECT max(id) FROM events",
            "SELECT max(id) FROM messages",
            "SELECT at FROM events ORDER BY id DESC LIMIT 1",
            "SELECT upto FROM events ORDER BY id DESC LIMIT 1",
        ] {
            let number: Option<Option<i64>> =
                sqlx::query_scalar(sql).fetch_optional(&mut *connection).await?;
            numbers.push(number.flatten().unwrap_or(0));
        }
        // Times in the history never go back.
        let clock = Clock::start(numbers[2]);
        // Where the clock was set back meanwhile, nothing waits longer than its delay.
        let sql = "UPDATE messages SET ready_at = ?1 + delay WHERE ready_at > ?1 + delay";
        sqlx::query(sql).bind(clock.now()).execute(connection).await?;
        Ok(Self { clock, last_id: numbers[0].max(numbers[1]), upto: numbers[3] })
    }
}
