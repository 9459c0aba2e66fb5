//! Connections for reading, and their supervision.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_rs::TokioRuntime;
use lapin::{Channel, Connection, ConnectionProperties};
use rand::RngExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amqp::declare;
use crate::{BrokerConfig, BrokerError};

/// The first and the longest pause before connecting again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a close waits for what is being settled.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The way to the broker, shared by publisher and readers.
pub(super) struct Link {
    pub(super) url: String,
    pub(super) config: BrokerConfig,
    /// Connections are driven by the runtime that opened the link, whoever asks for them: an
    /// HTTP worker's own runtime may end before them.
    pub(super) runtime: TokioRuntime,
    pub(super) closing: CancellationToken,
    readers: TaskTracker,
    /// What is wrong with each reader that is not attached.
    detached: Mutex<BTreeMap<String, String>>,
}

/// Why a reader must begin anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("{0}")]
    Broker(#[from] lapin::Error),
    #[error("the broker ended the consumer")]
    Cancelled,
    #[error("no connection within {} s", CONNECT.as_secs())]
    TooSlow,
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

/// A connection with everything declared, and a channel on it.
pub(super) struct Session {
    pub(super) channel: Channel,
    connection: Connection,
    link: Arc<Link>,
    name: String,
}

impl Link {
    pub(super) fn new(config: &BrokerConfig) -> Result<Self, BrokerError> {
        Ok(Self {
            url: with_heartbeat(&config.url)?,
            config: config.clone(),
            runtime: TokioRuntime::tokio_current(),
            closing: CancellationToken::new(),
            readers: TaskTracker::new(),
            detached: Mutex::new(BTreeMap::new()),
        })
    }

    pub(super) async fn connect(&self) -> lapin::Result<Connection> {
        let properties =
            ConnectionProperties::default().with_connection_name("studio-webhooks".into());
        Connection::connect_with_runtime(&self.url, properties, self.runtime.clone()).await
    }

    /// What is wrong with a reader, in words for operators.
    pub(super) fn detached(&self) -> Option<String> {
        let detached = self.lock();
        detached.iter().next().map(|(name, reason)| format!("{name}: {reason}"))
    }

    /// Stops every reader; what they have not settled goes back.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.readers.close();
        drop(tokio::time::timeout(LAST_WORDS, self.readers.wait()).await);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // No panic can leave the map half-changed.
        self.detached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn session(self: &Arc<Self>, name: &str) -> Result<Session, Interrupted> {
        let opening = async {
            let connection = self.connect().await?;
            declare::topology(&connection, &self.config).await?;
            let channel = connection.create_channel().await?;
            Ok::<_, lapin::Error>((connection, channel))
        };
        let opened = tokio::time::timeout(CONNECT, opening).await;
        let (connection, channel) = opened.map_err(|_| Interrupted::TooSlow)??;
        Ok(Session { channel, connection, link: self.clone(), name: name.to_owned() })
    }
}

impl Session {
    /// The reader works from now on.
    pub(super) fn attached(&self) {
        if self.link.lock().remove(&self.name).is_some_and(|reason| reason != CONNECTING) {
            tracing::info!("{} is attached to the broker again", self.name);
        }
    }

    /// Leaves politely: what is not acknowledged goes back at once.
    pub(super) async fn leave(self) {
        let closing = self.connection.close(200, "OK".into());
        drop(tokio::time::timeout(Duration::from_secs(1), closing).await);
    }
}

const CONNECTING: &str = "connecting";

/// Runs the reader `name` until it is done: after every interruption again, with growing pauses.
pub(super) async fn supervise<F, R>(link: Arc<Link>, name: String, mut run: F)
where
    F: FnMut(Session) -> R,
    R: Future<Output = Ended>,
{
    let supervised = link.readers.track_future(async {
        link.lock().insert(name.clone(), CONNECTING.into());
        let mut pause = PAUSES.0;
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                () = link.closing.cancelled() => break,
                session = link.session(&name) => match session {
                    Ok(session) => run(session).await,
                    Err(error) => error.into(),
                },
            };
            let Ended::Interrupted(error) = ended else {
                break;
            };
            if began.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            note_detached(&link, &name, &error);
            let jittered = rand::rng().random_range(pause / 2..=pause);
            tokio::select! {
                () = link.closing.cancelled() => break,
                () = tokio::time::sleep(jittered) => pause = (pause * 2).min(PAUSES.1),
            }
        }
        link.lock().remove(&name);
    });
    supervised.await;
}

/// Keeps the reason for `/readyz`; says it once, not with every try.
fn note_detached(link: &Link, name: &str, error: &Interrupted) {
    let before = link.lock().insert(name.to_owned(), error.to_string());
    if before.is_none_or(|before| before == CONNECTING) {
        tracing::warn!("{name} lost the broker and connects again: {error}");
    }
}

/// The URL with a heartbeat of 10 s, unless it names its own.
fn with_heartbeat(url: &str) -> Result<String, BrokerError> {
    if !url.starts_with("amqp://") && !url.starts_with("amqps://") {
        let message = "expected embedded://PATH or amqp://user:password@host:5672/vhost";
        return Err(BrokerError::Config { key: "broker.url", message: message.to_owned() });
    }
    if url.contains("heartbeat=") {
        return Ok(url.to_owned());
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    Ok(format!("{url}{separator}heartbeat=10"))
}
