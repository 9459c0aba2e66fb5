//! The one writer. Everything that waits is written in one transaction with one fsync (group
//! commit); publishers are answered after it, and consumers get what they published from memory.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::{Event, EventType};
use sea_orm::{ConnectionTrait, DbErr, TransactionTrait, Value};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::embedded::file::QueueFile;
use crate::embedded::queues::{Live, Queues, Ready};
use crate::embedded::rows;
use crate::message::read_event;
use crate::topology::WAIT;
use crate::{BrokerConfig, BrokerError, Outgoing, PublishError, Queue, Target};

/// Commands of one transaction, at most.
const BATCH: usize = 2_048;

/// Messages read from the file together.
const PAGE: usize = 1_000;

/// How often old history is removed, and how much at once.
const TIDY_EVERY: Duration = Duration::from_secs(30);
const TIDY_ROWS: i64 = 2_000;

/// How long a failed write waits for the next try when nothing else arrives.
const AGAIN: Duration = Duration::from_secs(1);

/// What the writer is asked for.
pub(super) enum Command {
    Publish(Box<Publication>),
    /// These messages are finished.
    Done(Vec<i64>),
    /// This queue has room again.
    Load(Queue),
    Close,
}

/// A message to keep, and who waits for it to be kept.
pub(super) struct Publication {
    queue: Queue,
    kind: Option<EventType>,
    /// The event of a message to `studio.events`, if it is one.
    event: Option<Event>,
    message: Outgoing,
    reply: oneshot::Sender<Result<(), PublishError>>,
}

impl Publication {
    pub(super) fn new(
        target: Target,
        message: Outgoing,
        reply: oneshot::Sender<Result<(), PublishError>>,
    ) -> Self {
        let (queue, kind) = match target {
            Target::Events(kind) => (Queue::Dispatch, Some(kind)),
            Target::Queue(queue) => (queue, None),
            Target::Notices(_) => (Queue::Rejected, None),
        };
        let event = kind.and_then(|kind| {
            let origin = domain::Origin {
                message_id: message.message_id.clone(),
                routing_key: Some(kind.to_string()),
                ..domain::Origin::default()
            };
            read_event(message.content_type, &message.body, &origin).ok()
        });
        Self { queue, kind, event, message, reply }
    }

    fn delay(&self) -> Option<Duration> {
        match self.queue {
            Queue::Retry(delay) => Some(delay),
            Queue::Wait => Some(WAIT),
            _ => None,
        }
    }
}

/// A publication with its place in the file.
struct Placed {
    id: i64,
    due_at: Option<i64>,
    publication: Publication,
}

pub(super) struct Writer {
    file: Arc<QueueFile>,
    queues: Arc<Queues>,
    commands: mpsc::Receiver<Command>,
    /// The last id given to a message; an event's place in the history has the same number.
    last_id: i64,
    /// Finished messages that are not deleted yet.
    done: Vec<i64>,
    /// Delayed messages up to here were handed out.
    due_cursor: (i64, i64),
    next_due: Option<i64>,
    history_age: Duration,
    history_bytes: i64,
    kept_bytes: i64,
}

impl Writer {
    pub(super) async fn new(
        file: Arc<QueueFile>,
        queues: Arc<Queues>,
        config: &BrokerConfig,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, BrokerError> {
        let messages = file.number("SELECT max(id) FROM messages").await?;
        let history = file.number("SELECT max(seq) FROM history").await?;
        let kept_bytes = file.number("SELECT sum(length(body)) FROM history").await?;
        Ok(Self {
            last_id: messages.max(history),
            done: Vec::new(),
            due_cursor: (0, 0),
            next_due: Some(0),
            history_age: config.history_age,
            history_bytes: i64::try_from(config.history_bytes).unwrap_or(i64::MAX),
            kept_bytes,
            file,
            queues,
            commands,
        })
    }

    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        loop {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                taken = self.commands.recv_many(&mut batch, BATCH) => {
                    if taken == 0 || self.work(&mut batch).await {
                        return;
                    }
                }
                () = tokio::time::sleep(wake) => self.timers().await,
                _ = tidy.tick() => self.tidy().await,
            }
        }
    }

    /// How long until a delayed message is due, or a failed write is tried again.
    fn wake_at(&self) -> Duration {
        let due = self.next_due.map_or(Duration::from_secs(3_600), |due| {
            Duration::from_millis(u64::try_from(due - now_millis()).unwrap_or(0))
        });
        if self.done.is_empty() { due } else { due.min(AGAIN) }
    }

    async fn timers(&mut self) {
        if !self.done.is_empty() {
            self.commit(Vec::new()).await;
        }
        self.bring_due().await;
    }

    /// Does what a batch asks for; true when it asks for the end.
    async fn work(&mut self, batch: &mut Vec<Command>) -> bool {
        let mut publications = Vec::with_capacity(batch.len());
        let mut loads = HashSet::new();
        let mut close = false;
        for command in batch.drain(..) {
            match command {
                Command::Publish(publication) => publications.push(*publication),
                Command::Done(mut ids) => self.done.append(&mut ids),
                Command::Load(queue) => drop(loads.insert(queue)),
                Command::Close => close = true,
            }
        }
        if !publications.is_empty() || !self.done.is_empty() {
            self.commit(publications).await;
        }
        for queue in loads {
            self.load(queue).await;
        }
        if self.next_due.is_some_and(|due| due <= now_millis()) {
            self.bring_due().await;
        }
        close
    }

    /// Writes publications and deletions, then answers and hands on.
    async fn commit(&mut self, publications: Vec<Publication>) {
        let now = now_millis();
        let placed: Vec<Placed> =
            publications.into_iter().map(|publication| self.place(publication, now)).collect();
        match self.write(&placed, now).await {
            Ok(kept) => {
                self.queues.note(None);
                self.done.clear();
                placed.into_iter().for_each(|placed| self.hand_on(placed, &kept));
            }
            Err(error) => {
                let reason = error.to_string();
                self.queues.note(Some(reason.clone()));
                for placed in placed {
                    let error = PublishError::Unavailable(reason.clone());
                    placed.publication.reply.send(Err(error)).ok();
                }
            }
        }
    }

    fn place(&mut self, publication: Publication, now: i64) -> Placed {
        self.last_id += 1;
        let due_at = publication.delay().map(|delay| {
            now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)).max(now + 1)
        });
        Placed { id: self.last_id, due_at, publication }
    }

    /// One transaction; gives back the events that are no copies.
    async fn write(&self, placed: &[Placed], now: i64) -> Result<HashSet<i64>, DbErr> {
        let transaction = self.file.db.begin().await?;
        let mut kept = HashSet::new();
        let (events, others): (Vec<&Placed>, Vec<&Placed>) =
            placed.iter().partition(|placed| placed.publication.kind.is_some());
        let rows = events.iter().map(|placed| history_row(placed, now)).collect();
        let copies = " ON CONFLICT (user_id, event_id) DO NOTHING RETURNING seq";
        for statement in rows::inserts("history", &HISTORY, rows, copies) {
            for row in transaction.query_all_raw(statement).await? {
                kept.insert(row.try_get_by_index::<i64>(0)?);
            }
        }
        let rows = events
            .iter()
            .filter(|placed| kept.contains(&placed.id))
            .map(|placed| pointer_row(placed))
            .chain(others.iter().map(|placed| message_row(placed)))
            .collect();
        for statement in rows::inserts("messages", &MESSAGES, rows, "") {
            transaction.execute_raw(statement).await?;
        }
        for statement in rows::deletes(&self.done) {
            transaction.execute_raw(statement).await?;
        }
        transaction.commit().await?;
        Ok(kept)
    }

    /// Answers the publisher and lets consumers and readers have the message.
    fn hand_on(&mut self, placed: Placed, kept: &HashSet<i64>) {
        let Placed { id, due_at, publication } = placed;
        let Publication { queue, kind, event, message, reply } = publication;
        reply.send(Ok(())).ok();
        if let Some(due) = due_at {
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            return;
        }
        if kind.is_some() && !kept.contains(&id) {
            return;
        }
        if kind.is_some() {
            self.kept_bytes += i64::try_from(message.body.len()).unwrap_or(0);
        }
        if let Some(event) = event {
            self.queues.tell_live(Live { seq: id, event });
        }
        self.queues.of(queue).arrive(Ready {
            id,
            content_type: message.content_type,
            message_id: message.message_id,
            routing_key: kind.map(|kind| kind.to_string()),
            headers: message.headers,
            body: message.body,
            redelivered: false,
            returns: 0,
        });
    }

    /// Reads more of a queue that has room.
    async fn load(&mut self, queue: Queue) {
        let ready = self.queues.of(queue);
        let Some(after) = ready.wants_more() else {
            return;
        };
        let query = rows::messages_after(&ready.name.to_string(), after, PAGE);
        let loaded = self.file.db.query_all_raw(query).await.and_then(|rows| {
            let messages = rows.iter().map(|row| rows::ready(row, ready.left_over).map(|r| r.0));
            messages.collect::<Result<Vec<Ready>, DbErr>>()
        });
        match loaded {
            Ok(messages) => {
                let more = messages.len() == PAGE;
                ready.load(messages, more);
            }
            Err(error) => self.queues.note(Some(error.to_string())),
        }
    }

    /// Hands out what is due, as far as there is room.
    async fn bring_due(&mut self) {
        let deliver = self.queues.of(Queue::Deliver);
        if !deliver.has_room() {
            self.next_due = Some(now_millis() + 100);
            return;
        }
        let result = self.hand_out_due(&deliver).await;
        self.next_due = result.unwrap_or_else(|error| {
            self.queues.note(Some(error.to_string()));
            Some(now_millis() + 1_000)
        });
    }

    async fn hand_out_due(
        &mut self,
        deliver: &crate::embedded::queues::ReadyQueue,
    ) -> Result<Option<i64>, DbErr> {
        let query = rows::messages_due(self.due_cursor, now_millis(), PAGE);
        let due = self.file.db.query_all_raw(query).await?;
        for row in &due {
            let (mut ready, due_at) = rows::ready(row, deliver.left_over)?;
            // Whether an earlier process had taken it is not known.
            ready.redelivered = true;
            self.due_cursor = (due_at.unwrap_or_default(), ready.id);
            deliver.come_due(ready);
        }
        let next = self.file.db.query_one_raw(rows::next_due(self.due_cursor)).await?;
        next.map_or(Ok(None), |row| row.try_get_by_index(0))
    }

    /// Removes what the history need not keep any more, a little at a time.
    async fn tidy(&mut self) {
        for queue in self.queues.all() {
            if queue.wants_more().is_some() {
                queue.arrived.notify_one();
            }
        }
        let age = i64::try_from(self.history_age.as_millis()).unwrap_or(i64::MAX);
        let over = self.kept_bytes > self.history_bytes;
        let before = if over { i64::MAX } else { now_millis().saturating_sub(age) };
        let sql = "DELETE FROM history WHERE seq IN (\
                   SELECT seq FROM history WHERE published_at < ? AND NOT EXISTS (\
                   SELECT 1 FROM messages WHERE history_seq = seq) ORDER BY seq LIMIT ?) \
                   RETURNING length(body)";
        let statement = rows::statement(sql.to_owned(), [before.into(), TIDY_ROWS.into()]);
        match self.file.db.query_all_raw(statement).await {
            Ok(rows) => {
                let freed = rows.iter().filter_map(|row| row.try_get_by_index::<i64>(0).ok());
                self.kept_bytes -= freed.sum::<i64>();
            }
            Err(error) => tracing::warn!("old history was not removed: {error}"),
        }
    }
}

const HISTORY: [&str; 9] = [
    "seq",
    "user_id",
    "event_id",
    "published_at",
    "content_type",
    "message_id",
    "routing_key",
    "headers",
    "body",
];

const MESSAGES: [&str; 8] =
    ["id", "queue", "due_at", "history_seq", "content_type", "message_id", "headers", "body"];

fn history_row(placed: &Placed, now: i64) -> Vec<Value> {
    let Publication { kind, event, message, .. } = &placed.publication;
    vec![
        placed.id.into(),
        event.as_ref().map(|event| event.user.to_string()).into(),
        event.as_ref().map(|event| event.id.to_string()).into(),
        now.into(),
        rows::content_type_number(message.content_type).into(),
        message.message_id.clone().into(),
        kind.map(|kind| kind.to_string()).into(),
        headers(message).into(),
        message.body.to_vec().into(),
    ]
}

/// The message that dispatches an event: its content stands in the history.
fn pointer_row(placed: &Placed) -> Vec<Value> {
    vec![
        placed.id.into(),
        placed.publication.queue.to_string().into(),
        Option::<i64>::None.into(),
        placed.id.into(),
        0_i64.into(),
        Option::<String>::None.into(),
        String::new().into(),
        Option::<Vec<u8>>::None.into(),
    ]
}

fn message_row(placed: &Placed) -> Vec<Value> {
    let Publication { queue, message, .. } = &placed.publication;
    vec![
        placed.id.into(),
        queue.to_string().into(),
        placed.due_at.into(),
        Option::<i64>::None.into(),
        rows::content_type_number(message.content_type).into(),
        message.message_id.clone().into(),
        headers(message).into(),
        message.body.to_vec().into(),
    ]
}

fn headers(message: &Outgoing) -> String {
    serde_json::to_string(&message.headers).expect("texts are JSON")
}

fn now_millis() -> i64 {
    let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
    i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or(i64::MAX)
}
