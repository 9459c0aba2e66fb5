//! A fast HTTP receiver that records what arrives and answers as it is told: what a webhook's
//! endpoint sees, and what the worst of endpoints do.

mod answer;
mod connection;
mod record;
mod workers;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use answer::{Answer, Script};
pub use record::{Keep, Recorded};
pub use workers::Workers;

use answer::Scripts;
use record::Records;

/// A request that has arrived and is about to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// When its head arrived.
    pub at: Instant,
    /// The same by the machine's clock, in microseconds since 1970.
    pub unix_us: u64,
    /// The path, without the query.
    pub path: &'a str,
    /// The delivery's id (`X-Sentimatrix-Delivery`).
    pub delivery: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// The status that it is answered with, where that is known already.
    pub answered: Option<u16>,
}

/// Called with each request as it arrives, before it is answered.
pub type Observer = Arc<dyn Fn(&Arrival<'_>) + Send + Sync>;

/// How a receiver records.
#[derive(Clone)]
pub struct ReceiverOptions {
    /// What is kept of each request.
    pub keep: Keep,
    /// Requests beyond are counted and not kept; 200,000 by default.
    pub max_requests: usize,
    /// Bodies beyond these bytes altogether are kept as their hash; 256 MiB by default.
    pub max_body_bytes: usize,
    /// Sees every request.
    pub observer: Option<Observer>,
    /// Where it listens; 127.0.0.1 by default. On 0.0.0.0 it is at every address of 127.0.0.0/8,
    /// each of which is a host of its own to those who call it.
    pub bind: IpAddr,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            keep: Keep::Bodies,
            max_requests: 200_000,
            max_body_bytes: 256 << 20,
            observer: None,
            bind: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// Fewer requests than were waited for.
#[derive(Debug, thiserror::Error)]
#[error("{arrived} of {wanted} requests arrived within {waited:?}")]
pub struct TooFew {
    /// How many were wanted.
    pub wanted: usize,
    /// How many came.
    pub arrived: usize,
    /// How long they had.
    pub waited: Duration,
}

/// Listens until it is dropped; open connections end with it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("count", &self.count).finish_non_exhaustive()
    }
}

/// What connections share.
struct Shared {
    options: ReceiverOptions,
    scripts: Mutex<Scripts>,
    records: Mutex<Records>,
    count: AtomicUsize,
    arrived: Notify,
}

impl Shared {
    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// Listens on a free port, answers 200 to everything and keeps the bodies.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(ReceiverOptions::default()).await
    }

    /// Listens on a free port and records as `options` say.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start_with(options: ReceiverOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((options.bind, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            records: Mutex::new(Records::new(&options)),
            options,
            scripts: Mutex::default(),
            count: AtomicUsize::new(0),
            arrived: Notify::new(),
        });
        let listening = tokio::spawn(connection::accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, listening })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, such as `/hook`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The URL of a path at another of the addresses that it listens on.
    #[must_use]
    pub fn url_at(&self, host: Ipv4Addr, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }

    /// From now on requests to `path` are answered by `script`, from its beginning.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let receiver = bench::receiver::Receiver::start().await.unwrap();
    /// receiver.answer("/hook", [500, 500, 200]); // and 200 ever after
    /// # });
    /// ```
    pub fn answer(&self, path: &str, script: impl Into<Script>) {
        self.shared.scripts().set(path, script.into());
    }

    /// How many requests have arrived, on all paths.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
    }

    /// How many requests arrived and were not kept, for want of room.
    #[must_use]
    pub fn not_kept(&self) -> usize {
        self.shared.records().dropped()
    }

    /// Everything that was kept, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.records().all().to_vec()
    }

    /// What was kept of the requests to `path`.
    #[must_use]
    pub fn requests_to(&self, path: &str) -> Vec<Recorded> {
        self.shared.records().all().iter().filter(|one| one.path == path).cloned().collect()
    }

    /// Forgets all requests and counts from zero.
    pub fn clear(&self) {
        self.shared.records().clear();
        self.shared.count.store(0, Ordering::Release);
    }

    /// Waits until `wanted` requests have arrived on all paths together.
    ///
    /// # Errors
    /// [`TooFew`] when `deadline` passes first.
    pub async fn wait_for(&self, wanted: usize, deadline: Duration) -> Result<(), TooFew> {
        self.wait_until(deadline, || self.count() >= wanted).await.map_err(|()| TooFew {
            wanted,
            arrived: self.count(),
            waited: deadline,
        })
    }

    /// Waits until `wanted` requests to `path` were kept and returns them.
    ///
    /// # Errors
    /// [`TooFew`] when `deadline` passes first.
    pub async fn wait_for_path(
        &self,
        path: &str,
        wanted: usize,
        deadline: Duration,
    ) -> Result<Vec<Recorded>, TooFew> {
        let enough = || self.shared.records().count_to(path) >= wanted;
        let waited = self.wait_until(deadline, enough).await;
        let requests = self.requests_to(path);
        let arrived = requests.len();
        waited.map(|()| requests).map_err(|()| TooFew { wanted, arrived, waited: deadline })
    }

    async fn wait_until(&self, deadline: Duration, enough: impl Fn() -> bool) -> Result<(), ()> {
        let waiting = async {
            loop {
                let arrived = self.shared.arrived.notified();
                tokio::pin!(arrived);
                // Registered before the look: an arrival in between wakes it.
                arrived.as_mut().enable();
                if enough() {
                    return;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(deadline, waiting).await.map_err(drop)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[cfg(test)]
mod tests;
