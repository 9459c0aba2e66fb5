//! The one who writes: gathers what waits (publications, acknowledgements) into one transaction
//! with one fsync, then answers, and hands on what it committed.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::Event;
use sea_orm::sqlx::{self, Connection, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::embedded::Shelf;
use crate::embedded::clock::millis;
use crate::embedded::lane::{Name, Place};
use crate::embedded::message::Shared;
use crate::embedded::retention::Retention;
use crate::embedded::rows::{self, EventRow, MessageRow};
use crate::{BrokerConfig, PublishError};

/// Commands of one transaction, at most; what they may hold is bounded by [`Parcel::room`].
const BATCH: usize = 1_024;

/// How long after a failed write it is tried again when nothing else arrives.
const AGAIN: Duration = Duration::from_secs(1);

/// A process that has lived for so long (ms) was not ended by what it found.
const LIVES: i64 = 60_000;

/// Entries of the history looked at in one transaction, at least.
const RETIRE: usize = 1_000;

/// What the writer is asked for.
pub(super) enum Command {
    Publish(Parcel),
    /// These messages of a lane are finished.
    Done(Name, Vec<i64>),
    /// Work on messages begins; told once that is noted.
    Begin(oneshot::Sender<()>),
    Close,
}

/// Messages that are kept together or not at all.
pub(super) struct Parcel {
    pub(super) publications: Vec<Publication>,
    pub(super) verdict: oneshot::Sender<Result<(), PublishError>>,
    /// Their share of the memory for what waits; given back when they are written.
    pub(super) room: OwnedSemaphorePermit,
}

pub(super) struct Publication {
    pub(super) lane: Name,
    /// Zero where it is ready at once.
    pub(super) delay: Duration,
    pub(super) message: Shared,
}

pub(super) struct Writer {
    shelf: Arc<Shelf>,
    connection: SqliteConnection,
    retention: Retention,
    /// The last id given to a message.
    last_id: i64,
    /// Bytes of all history so far.
    upto: i64,
    /// Finished messages that are not deleted yet: of `pending`, and of `messages`.
    done: [Vec<i64>; 2],
    /// When a process whose work has begun is known to live, until it is.
    lives_at: Option<i64>,
    begun: bool,
}

/// What a transaction inserts, and what becomes of it afterwards.
#[derive(Default)]
struct Batch {
    events: Vec<EventRow>,
    told: Vec<(i64, Event)>,
    messages: Vec<MessageRow>,
    verdicts: Vec<(oneshot::Sender<Result<(), PublishError>>, OwnedSemaphorePermit)>,
}

impl Writer {
    /// Goes on after the id `last_id`, where the history had `upto` bytes.
    pub(super) fn new(
        shelf: Arc<Shelf>,
        connection: SqliteConnection,
        config: &BrokerConfig,
        last_id: i64,
        upto: i64,
    ) -> Self {
        let retention = Retention::new(config, shelf.clock.now());
        let done = Default::default();
        Self { shelf, connection, retention, last_id, upto, done, lives_at: None, begun: false }
    }

    /// Ends with a [`Command::Close`], after everything that came before it.
    pub(super) async fn serve(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut gathered = Vec::with_capacity(BATCH);
        let mut open = true;
        while open {
            let wait = self.wait();
            tokio::select! {
                biased;
                count = commands.recv_many(&mut gathered, BATCH) => open = count > 0,
                () = tokio::time::sleep(wait) => {}
            }
            if gathered.iter().any(|command| matches!(command, Command::Close)) {
                commands.close();
                while let Ok(command) = commands.try_recv() {
                    gathered.push(command);
                }
                open = false;
            }
            self.work(&mut gathered).await;
        }
        if self.lives_at.is_some() {
            self.forget_ends().await;
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!("{}", self.shelf.file.trouble(&error));
        }
    }

    /// How long until there is something to do without being asked.
    fn wait(&self) -> Duration {
        if self.shelf.condition.refuses_writes() {
            AGAIN
        } else {
            let next = self.retention.next_at;
            self.shelf.clock.until(self.lives_at.map_or(next, |lives_at| lives_at.min(next)))
        }
    }

    /// Counts this process among those that did not close the file, for as long as it has not.
    async fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let sql =
            "INSERT INTO ends VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET unclean = unclean + 1";
        self.lives_at = Some(self.shelf.clock.now() + LIVES);
        self.run(sql).await.ok();
    }

    /// Notes that this process was not ended by what it found. Lost by a failure, the count only
    /// makes a later process careful.
    async fn forget_ends(&mut self) {
        self.lives_at = None;
        self.shelf.unclean_ends.store(0, Ordering::Relaxed);
        self.run("UPDATE ends SET unclean = 0").await.ok();
    }

    async fn work(&mut self, gathered: &mut Vec<Command>) {
        // Whoever reads from the file now must see all of this transaction, or nothing.
        let shelf = self.shelf.clone();
        let mut committed = shelf.committed.lock().await;
        let now = shelf.clock.now();
        let (first_id, upto) = (self.last_id + 1, self.upto);
        if self.lives_at.is_some_and(|lives_at| lives_at <= now) {
            self.forget_ends().await;
        }
        if gathered.iter().any(|command| matches!(command, Command::Begin(_))) {
            self.begin().await;
        }
        let batch = self.gather(gathered, now);
        match self.write(&batch, first_id, now).await {
            Ok(copies) => {
                shelf.condition.note_writing(None);
                self.done.iter_mut().for_each(Vec::clear);
                *committed = self.last_id;
                self.hand_on(batch, &copies);
            }
            Err(error) => {
                self.upto = upto;
                let reason = shelf.file.trouble(&error);
                shelf.condition.note_writing(Some(reason.clone()));
                for (verdict, _) in batch.verdicts {
                    verdict.send(Err(PublishError::Unavailable(reason.clone()))).ok();
                }
            }
        }
    }

    /// Gives every message its place.
    fn gather(&mut self, gathered: &mut Vec<Command>, now: i64) -> Batch {
        let mut batch = Batch::default();
        for command in gathered.drain(..) {
            match command {
                Command::Publish(parcel) => {
                    for publication in parcel.publications {
                        self.place(publication, now, &mut batch);
                    }
                    batch.verdicts.push((parcel.verdict, parcel.room));
                }
                Command::Done(lane, mut ids) => {
                    self.done[usize::from(lane != Name::Dispatch)].append(&mut ids);
                }
                Command::Begin(noted) => drop(noted.send(())),
                Command::Close => {}
            }
        }
        batch
    }

    fn place(&mut self, publication: Publication, now: i64, batch: &mut Batch) {
        let Publication { lane, delay, message } = publication;
        self.last_id += 1;
        let id = self.last_id;
        if lane == Name::Dispatch {
            self.upto += i64::try_from(message.bytes()).unwrap_or(0);
            let event = message.told();
            let key = event.as_ref().map(Event::key);
            batch.told.extend(event.map(|event| (id, event)));
            batch.events.push(EventRow { id, at: now, upto: self.upto, key, message });
        } else {
            let delay = millis(delay);
            // The millisecond that has begun does not count.
            let wait = if delay == 0 { 0 } else { delay.saturating_add(1) };
            let ready_at = now.saturating_add(wait);
            batch.messages.push(MessageRow { id, lane: lane as i64, ready_at, delay, message });
        }
    }

    /// One transaction, if there is anything to do; gives back the ids of events that were there
    /// already.
    async fn write(
        &mut self,
        batch: &Batch,
        first_id: i64,
        now: i64,
    ) -> Result<HashSet<i64>, sqlx::Error> {
        let asked = !batch.verdicts.is_empty() || self.done.iter().any(|ids| !ids.is_empty());
        let retire = now >= self.retention.next_at;
        let probe = self.shelf.condition.refuses_writes();
        if !asked && !retire && !probe {
            return Ok(HashSet::new());
        }
        self.shelf.file.check_place().map_err(|error| sqlx::Error::Io(io::Error::other(error)))?;
        // By hand: SQLite itself ends a transaction that meets a full disk, and sqlx would go on
        // counting it as open.
        self.run("BEGIN IMMEDIATE").await?;
        let written = match self.write_all(batch, first_id, now, retire, probe).await {
            Ok(copies) => self.run("COMMIT").await.map(|()| copies),
            Err(error) => Err(error),
        };
        if written.is_err() {
            // An error only says that there is nothing to roll back any more.
            self.run("ROLLBACK").await.ok();
        }
        written
    }

    async fn write_all(
        &mut self,
        batch: &Batch,
        first_id: i64,
        now: i64,
        retire: bool,
        probe: bool,
    ) -> Result<HashSet<i64>, sqlx::Error> {
        let connection = &mut self.connection;
        let mut copies = HashSet::new();
        if !batch.events.is_empty() {
            let inserted = rows::insert_events(connection, &batch.events).await?;
            let sql = "INSERT INTO pending (id) SELECT id FROM events WHERE id BETWEEN ? AND ?";
            let (first, last) = (first_id, self.last_id);
            sqlx::query(sql).bind(first).bind(last).execute(&mut *connection).await?;
            if usize::try_from(inserted) != Ok(batch.events.len()) {
                copies = copies_of(connection, batch, first, last).await?;
            }
        }
        rows::insert_messages(connection, &batch.messages).await?;
        let [pending, messages] = &self.done;
        rows::delete(connection, "pending", pending).await?;
        rows::delete(connection, "messages", messages).await?;
        if retire {
            // Twice what comes in, so that it catches up.
            let most = i64::try_from(RETIRE.max(2 * batch.events.len())).unwrap_or(i64::MAX);
            self.retention.step(connection, now, self.upto, most).await?;
        }
        if probe {
            self.run("UPDATE probe SET tries = tries + 1").await?;
        }
        Ok(copies)
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.connection).await.map(drop)
    }

    /// Lets consumers and readers have the messages, and answers the publishers.
    fn hand_on(&self, batch: Batch, copies: &HashSet<i64>) {
        let is_new = |id: &i64| copies.is_empty() || !copies.contains(id);
        let dispatch = self.shelf.lane(Name::Dispatch);
        for row in batch.events.into_iter().filter(|row| is_new(&row.id)) {
            dispatch.arrive(Place { ready_at: 0, id: row.id }, row.message);
        }
        for row in batch.messages {
            if row.delay > 0 {
                self.shelf.lane(Name::Deliver).expect(row.ready_at);
            } else {
                let name =
                    if row.lane == Name::Deliver as i64 { Name::Deliver } else { Name::Rejected };
                let place = Place { ready_at: row.ready_at, id: row.id };
                self.shelf.lane(name).arrive(place, row.message);
            }
        }
        let told = batch.told.into_iter().filter(|(id, _)| is_new(id)).collect();
        self.shelf.recent.arrive(told, self.last_id);
        // Last: who is told finds the message in its queue and in the history.
        for (verdict, room) in batch.verdicts {
            // A publisher that has given up waiting is not there to be told.
            verdict.send(Ok(())).ok();
            drop(room);
        }
    }
}

async fn copies_of(
    connection: &mut SqliteConnection,
    batch: &Batch,
    first: i64,
    last: i64,
) -> Result<HashSet<i64>, sqlx::Error> {
    let sql = "SELECT id FROM events WHERE id BETWEEN ? AND ?";
    let kept = sqlx::query_scalar(sql).bind(first).bind(last).fetch_all(connection).await?;
    let kept: HashSet<i64> = kept.into_iter().collect();
    Ok(batch.events.iter().map(|row| row.id).filter(|id| !kept.contains(id)).collect())
}
