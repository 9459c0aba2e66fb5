//! The connection for reading that all readers of a process share, and their supervision.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use domain::setting::SecretUrl;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionStatus};
use rand::RngExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amqp::declare::{self, DeclareError};
use crate::amqp::wire;
use crate::{BrokerConfig, BrokerError};

/// The shortest and the longest pause before connecting again: work is to go on within 5 s of the
/// broker's return.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// How long connecting and declaring may take.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// How long a close waits for what is being settled.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How often a silent connection is asked whether the broker is still there, in seconds.
const HEARTBEAT: u16 = 10;

const CONNECTING: &str = "connecting";

/// The way to the broker.
pub(super) struct Link {
    uri: AMQPUri,
    pub(super) config: BrokerConfig,
    /// Connections and tasks belong to the runtime that opened the link, whoever asks for them:
    /// an HTTP worker's own runtime may end before them.
    runtime: Tokio,
    pub(super) handle: Handle,
    pub(super) closing: CancellationToken,
    /// For reading only: nothing is published on it, so that no alarm blocks it.
    reading: tokio::sync::Mutex<Option<Arc<Connection>>>,
    /// Held by the one that declares.
    declared: tokio::sync::Mutex<Option<Declared>>,
    /// When a channel was lost the last time: something may not be there any more.
    missed: Mutex<Option<Instant>>,
    readers: TaskTracker,
    last_reader: AtomicU64,
    detached: Mutex<BTreeMap<u64, Detached>>,
}

/// When everything was declared, and on which connection: as long as it lives, the broker has not
/// come back empty.
struct Declared {
    at: Instant,
    on: ConnectionStatus,
}

/// A reader that is not attached.
struct Detached {
    name: String,
    reason: String,
}

/// Why a reader must begin anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("{0}")]
    Broker(#[from] lapin::Error),
    #[error("{0}")]
    Topology(#[from] DeclareError),
    #[error("the broker ended the consumer")]
    Cancelled,
    #[error("no connection within {} s", CONNECT.as_secs())]
    TooSlow,
    #[error("the history begins anew: the broker came back empty")]
    HistoryReset,
    #[error("the broker does not send what is in the history")]
    Withheld,
}

/// How a reader's run ended.
pub(super) enum Ended {
    /// Nobody reads any more, or the link closes.
    Done,
    /// To be begun anew.
    Interrupted(Interrupted),
}

impl<E: Into<Interrupted>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Interrupted(error.into())
    }
}

/// A channel for one reader, with everything declared.
pub(super) struct Session {
    pub(super) channel: Channel,
    link: Arc<Link>,
    reader: u64,
    /// Open as long as a reader uses it.
    _connection: Arc<Connection>,
}

/// Pauses between tries: growing, and of random length, so that many do not come at once.
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSES.0)
    }
}

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        self.0 = (self.0 * 2).min(PAUSES.1);
        rand::rng().random_range(PAUSES.0..=self.0)
    }
}

impl Link {
    pub(super) fn new(config: &BrokerConfig) -> Result<Self, BrokerError> {
        Ok(Self {
            uri: checked_uri(&config.url)?,
            config: config.clone(),
            runtime: Tokio::current(),
            handle: Handle::current(),
            closing: CancellationToken::new(),
            reading: tokio::sync::Mutex::default(),
            declared: tokio::sync::Mutex::default(),
            missed: Mutex::default(),
            readers: TaskTracker::new(),
            last_reader: AtomicU64::new(0),
            detached: Mutex::default(),
        })
    }

    /// What is wrong with readers, in words for operators.
    pub(super) fn detached(&self) -> Option<String> {
        let detached = self.lock();
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for reader in detached.values() {
            names.entry(&reader.reason).or_default().push(&reader.name);
        }
        let lines = names.iter().map(|(reason, names)| format!("{}: {reason}", names.join(", ")));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// Stops every reader; what they have not settled goes back.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.readers.close();
        tokio::time::timeout(LAST_WORDS, self.readers.wait()).await.ok();
        if let Some(connection) = self.reading.lock().await.take() {
            let closing = connection.close(200, "OK".into());
            tokio::time::timeout(Duration::from_secs(1), closing).await.ok();
        }
    }

    /// A channel for reading, with nothing checked or declared.
    pub(super) async fn channel(&self) -> Result<Channel, Interrupted> {
        let opening = async { Ok(self.reading().await?.create_channel().await?) };
        tokio::time::timeout(CONNECT, opening).await.map_err(|_| Interrupted::TooSlow)?
    }

    /// Declares everything, after a message found no queue.
    pub(super) async fn declare_again(&self) {
        self.note_missed();
        let declaring = async {
            let connection = self.reading().await?;
            Ok::<_, Interrupted>(self.furnish(&connection).await?)
        };
        let declared = tokio::time::timeout(CONNECT, declaring).await;
        match declared.unwrap_or(Err(Interrupted::TooSlow)) {
            Ok(()) => tracing::warn!("a queue was missing: all of them were declared again"),
            Err(error) => tracing::warn!("a queue is missing and could not be declared: {error}"),
        }
    }

    /// Something may not be there any more: whoever furnishes next declares everything again.
    pub(super) fn note_missed(&self) {
        *self.missed() = Some(Instant::now());
    }

    fn missed(&self) -> MutexGuard<'_, Option<Instant>> {
        // No panic can leave it half-changed.
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares everything on `connection`, unless that was done since a channel was lost, and the
    /// broker has been there ever since. One declares for all: those who found a broker that came
    /// back empty together held each other up.
    pub(super) async fn furnish(&self, connection: &Connection) -> Result<(), DeclareError> {
        let mut declared = self.declared.lock().await;
        let missed = *self.missed();
        let holds = |declared: &Declared| {
            declared.on.connected() && missed.is_none_or(|missed| missed < declared.at)
        };
        if !declared.as_ref().is_some_and(holds) {
            let at = Instant::now();
            declare::topology(connection, &self.config).await?;
            *declared = Some(Declared { at, on: connection.status().clone() });
        }
        Ok(())
    }

    async fn session(self: &Arc<Self>, reader: u64) -> Result<Session, Interrupted> {
        let opening = async {
            let connection = self.reading().await?;
            self.furnish(&connection).await?;
            let channel = connection.create_channel().await?;
            Ok::<_, Interrupted>((connection, channel))
        };
        let opened = tokio::time::timeout(CONNECT, opening).await;
        let (connection, channel) = opened.map_err(|_| Interrupted::TooSlow)??;
        Ok(Session { channel, link: self.clone(), reader, _connection: connection })
    }

    /// The connection for reading, made anew when it was lost. One at a time, so that readers
    /// who lost it together find it again together.
    async fn reading(&self) -> lapin::Result<Arc<Connection>> {
        let mut reading = self.reading.lock().await;
        if let Some(connection) = &*reading
            && connection.status().connected()
        {
            return Ok(connection.clone());
        }
        let connection = Arc::new(self.connect().await?);
        *reading = Some(connection.clone());
        Ok(connection)
    }

    /// A connection of its own, for reading or for publishing.
    pub(super) async fn connect(&self) -> lapin::Result<Connection> {
        wire::connect(self.uri.clone(), self.runtime.clone()).await
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Detached>> {
        // No panic can leave the map half-changed.
        self.detached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the reason for `/readyz`; says it when it changes, not with every try.
    fn note_detached(&self, reader: u64, name: &str, error: &Interrupted) {
        let detached = Detached { name: name.to_owned(), reason: error.to_string() };
        let reason = detached.reason.clone();
        let before = self.lock().insert(reader, detached);
        if before.is_none_or(|before| before.reason != reason) {
            tracing::warn!("{name} is not attached to the broker: {reason}");
        }
    }
}

impl Session {
    /// The reader works from now on.
    pub(super) fn attached(&self) {
        if let Some(was) = self.link.lock().remove(&self.reader)
            && was.reason != CONNECTING
        {
            tracing::info!("{} is attached to the broker again", was.name);
        }
    }

    /// Leaves politely: what is not acknowledged goes back at once.
    pub(super) async fn leave(self) {
        let closing = self.channel.close(200, "OK".into());
        tokio::time::timeout(Duration::from_secs(1), closing).await.ok();
    }
}

/// Begins to run the reader `name`, until it is done: after every interruption again, with
/// growing pauses.
pub(super) fn supervise<F, R>(link: Arc<Link>, name: String, mut run: F)
where
    F: FnMut(Session) -> R + Send + 'static,
    R: Future<Output = Ended> + Send,
{
    let reader = link.last_reader.fetch_add(1, Ordering::Relaxed);
    link.lock().insert(reader, Detached { name: name.clone(), reason: CONNECTING.to_owned() });
    let handle = link.handle.clone();
    link.readers.clone().spawn_on(
        async move {
            let mut pauses = Pauses::default();
            loop {
                let began = Instant::now();
                let ended = tokio::select! {
                    () = link.closing.cancelled() => break,
                    session = link.session(reader) => match session {
                        Ok(session) => run(session).await,
                        Err(error) => error.into(),
                    },
                };
                let Ended::Interrupted(error) = ended else {
                    break;
                };
                if began.elapsed() > PAUSES.1 {
                    pauses = Pauses::default();
                }
                link.note_missed();
                link.note_detached(reader, &name, &error);
                tokio::select! {
                    () = link.closing.cancelled() => break,
                    () = tokio::time::sleep(pauses.next()) => {}
                }
            }
            link.lock().remove(&reader);
        },
        &handle,
    );
}

/// The URL, read, with a heartbeat of 10 s unless it names its own.
fn checked_uri(url: &SecretUrl) -> Result<AMQPUri, BrokerError> {
    let url = url.expose();
    // What the parser says may quote the password.
    let known = url.starts_with("amqp://") || url.starts_with("amqps://");
    let Some(mut uri) = url.parse::<AMQPUri>().ok().filter(|_| known) else {
        let message = "expected embedded://PATH or amqp://user:password@host:5672/vhost";
        return Err(BrokerError::Config { key: "broker.url", message: message.to_owned() });
    };
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}
