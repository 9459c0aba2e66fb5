//! Connections to endpoints, kept and used again.
//!
//! An HTTP/1.1 connection has no task of its own: the attempt that uses it drives it, so that no
//! other task is woken between a request and its answer (`docs/adr/0005-own-connections.md`).
//! Kept ones are looked at when they are taken and by the sweep. An HTTP/2 connection is shared by
//! all attempts to its host, and therefore has a task.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::DashMap;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::http::response::Parts;
use rustix::process::{Resource, getrlimit};

use crate::connector::Connector;
use crate::endpoint::Target;
use crate::failure::NoAnswer;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::{DeliveryConfig, DeliveryConfigError, Guard};

/// Connections that rest have this part of the files that the process may open, at most: what waits
/// for a free file must not wait for them.
const OF_FILES: usize = 4;

/// How often connections that rested too long, or were closed by the other side, are dropped.
const SWEEP: Duration = Duration::from_secs(5);

/// A request whose body is whole, in the form of HTTP/1.1. Boxed, for it goes from hand to hand.
pub(crate) type Outgoing = Box<Request<Full<Bytes>>>;

/// The connections of a sender. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    connector: Connector,
    hosts: DashMap<Arc<str>, Host>,
    idle_per_host: usize,
    idle_in_all: usize,
    /// Idle ones of all hosts.
    idle: AtomicUsize,
    idle_timeout: Duration,
    sweeping: Once,
}

/// What is open to one scheme, host and port.
#[derive(Default)]
struct Host {
    /// The longest unused first.
    idle: Vec<Idle>,
    shared: Option<(Http2, Instant)>,
}

struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

/// A connection to send one request on.
enum Link {
    Alone(Box<Http1>),
    Shared(Http2),
}

/// An answer whose head has come, and the connection that its body comes on.
pub(crate) struct Answer<'a> {
    body: Incoming,
    link: Link,
    target: &'a Target,
    connections: &'a Connections,
}

/// Why no answer came, and the request where nothing of it was sent.
pub(crate) struct Unanswered {
    pub(crate) error: NoAnswer,
    pub(crate) unsent: Option<Outgoing>,
}

impl Connections {
    /// # Errors
    /// As [`Connector::new`].
    pub(crate) fn new(config: &DeliveryConfig, guard: &Guard) -> Result<Self, DeliveryConfigError> {
        Ok(Self(Arc::new(Shared {
            connector: Connector::new(config, guard)?,
            hosts: DashMap::new(),
            idle_per_host: config.idle_per_host,
            idle_in_all: config.idle_in_all.min(files() / OF_FILES),
            idle: AtomicUsize::new(0),
            idle_timeout: config.idle_timeout,
            sweeping: Once::new(),
        })))
    }

    /// Sends `request` to `target` on a kept connection or a new one; comes back with the head of
    /// the answer.
    pub(crate) async fn send<'a>(
        &'a self,
        target: &'a Target,
        mut request: Outgoing,
    ) -> Result<(Parts, Answer<'a>), NoAnswer> {
        loop {
            let (link, kept) = match self.0.take(&target.origin).await {
                Some(link) => (link, true),
                // Boxed: it is large and rare, and would make every attempt as large.
                None => (Box::pin(self.connect(target)).await?, false),
            };
            match self.exchange(link, target, request).await {
                // Closed by the other side a moment before: nothing of it left.
                Err(Unanswered { unsent: Some(unsent), .. }) if kept => request = unsent,
                done => return done.map_err(|unanswered| unanswered.error),
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Link, NoAnswer> {
        let shared = &self.0;
        shared.sweeping.call_once(|| drop(tokio::spawn(sweep(Arc::downgrade(shared)))));
        let connected = shared.connector.connect(&target.uri).await?;
        if !connected.is_http2 {
            return Ok(Link::Alone(Http1::begin(connected).await?));
        }
        let made = Http2::begin(connected).await?;
        let mut host = shared.hosts.entry(target.origin.clone()).or_default();
        // Others may have connected at the same time: the first stays, and this one ends.
        let open = host.shared.take().filter(|(first, _)| first.is_open());
        let kept = open.map_or(made, |(first, _)| first);
        host.shared = Some((kept.clone(), Instant::now()));
        Ok(Link::Shared(kept))
    }

    async fn exchange<'a>(
        &'a self,
        mut link: Link,
        target: &'a Target,
        request: Outgoing,
    ) -> Result<(Parts, Answer<'a>), Unanswered> {
        let answer = match &mut link {
            Link::Alone(connection) => connection.send(request).await?,
            Link::Shared(connection) => connection.send(target, request).await?,
        };
        let (head, body) = answer.into_parts();
        Ok((head, Answer { body, link, target, connections: self }))
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Answer<'_> {
    /// Where the endpoint is.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.link {
            Link::Alone(connection) => connection.address,
            Link::Shared(connection) => connection.address,
        }
    }

    /// The body's first `kept` bytes. One that is whole leaves its connection fit for use; one
    /// over `limit` bytes, or cut off, does not.
    pub(crate) async fn read(mut self, kept: usize, limit: usize) -> Bytes {
        let (mut text, mut read) = (Vec::new(), 0);
        loop {
            let frame = self.body.frame();
            let frame = match &mut self.link {
                Link::Alone(connection) => connection.drive(frame).await,
                Link::Shared(_) => frame.await,
            };
            let data = match frame {
                None => break,
                Some(Err(_)) => return text.into(),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            text.extend_from_slice(&data[..data.len().min(kept - text.len())]);
            read += data.len();
            if read > limit {
                return text.into();
            }
        }
        if let Link::Alone(mut connection) = self.link
            && connection.is_fit().await
        {
            self.connections.0.keep(&self.target.origin, connection);
        }
        text.into()
    }
}

impl Shared {
    /// The connection to `origin` that was used last, among those that are still open.
    async fn take(&self, origin: &str) -> Option<Link> {
        loop {
            let mut connection = {
                let mut host = self.hosts.get_mut(origin)?;
                if let Some((shared, used)) = &mut host.shared {
                    if shared.is_open() {
                        *used = Instant::now();
                        return Some(Link::Shared(shared.clone()));
                    }
                    host.shared = None;
                }
                let idle = host.idle.pop()?;
                self.idle.fetch_sub(1, Ordering::Relaxed);
                idle.connection
            };
            if connection.is_fit().await {
                return Some(Link::Alone(connection));
            }
        }
    }

    fn keep(&self, origin: &Arc<str>, connection: Box<Http1>) {
        if self.idle.load(Ordering::Relaxed) >= self.idle_in_all {
            return;
        }
        let idle = Idle { connection, since: Instant::now() };
        let known = self.hosts.get_mut(origin);
        let mut host = known.unwrap_or_else(|| self.hosts.entry(origin.clone()).or_default());
        if host.idle.len() < self.idle_per_host {
            host.idle.push(idle);
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sweep(&self) {
        self.hosts.retain(|_, host| {
            let before = host.idle.len();
            host.idle.retain_mut(|idle| {
                idle.since.elapsed() < self.idle_timeout && idle.connection.looks_open()
            });
            self.idle.fetch_sub(before - host.idle.len(), Ordering::Relaxed);
            host.shared
                .take_if(|(shared, used)| !shared.is_open() || used.elapsed() >= self.idle_timeout);
            !host.idle.is_empty() || host.shared.is_some()
        });
    }
}

/// How many files the process may open.
fn files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

async fn sweep(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.sweep();
    }
}
