//! Private servers for tests and measurements, from Debian's packages `rabbitmq-server` and
//! `postgresql`: own data folder, own ports, nothing shared with what else runs on the machine.
//!
//! Each server runs under a small shell that ends it as soon as the process that started it is
//! gone, however that happened: no server outlives its test.

mod postgres;
mod process;
mod rabbitmq;

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use postgres::{Postgres, PostgresOptions};
pub use process::{Signal, send_signal};
pub use rabbitmq::RabbitMq;

/// Starts a broker, and a database that waits for its disk as in production, named `name`.
///
/// # Errors
/// When one of them does not start.
pub async fn start_both(name: &'static str) -> anyhow::Result<(RabbitMq, Postgres)> {
    let starting = tokio::task::spawn_blocking(move || {
        let options = PostgresOptions { fsync: true, ..PostgresOptions::default() };
        Ok((RabbitMq::start(name)?, Postgres::start(name, options)?))
    });
    starting.await?
}

/// A connection to the private broker at `url`, which is `amqp://` on this machine.
///
/// # Errors
/// What lapin says.
pub async fn connect(url: &str) -> lapin::Result<lapin::Connection> {
    #[expect(clippy::disallowed_methods, reason = "a private broker of this machine, without TLS")]
    lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await
}

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A program is not installed.
    #[error("{program} is missing: install Debian's package {package} (apt-get install {package})")]
    NotInstalled {
        /// What was looked for.
        program: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// It did not answer in time.
    #[error("{server} did not answer within {waited:?}; the end of its output:\n{output}")]
    NotReady {
        /// Which server.
        server: &'static str,
        /// How long it had.
        waited: Duration,
        /// The last lines it wrote.
        output: String,
    },
    /// One of its own programs failed.
    #[error("{command} failed: {output}")]
    Command {
        /// Program and arguments.
        command: String,
        /// What it wrote to standard output and error.
        output: String,
    },
    /// Files or processes could not be handled.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerError {
    pub(crate) fn io(context: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { context, source }
    }
}

/// Cargo's target folder of this workspace (`CARGO_TARGET_DIR` where set).
#[must_use]
pub fn target_folder() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
        PathBuf::from,
    );
    folder.canonicalize().unwrap_or(folder)
}

/// Below it are ports of the system's own services.
const LOWEST_PORT: u16 = 10_000;

/// Ports that were free a moment ago, all different; on every address, for RabbitMQ listens on all
/// of them and clients' connections that have just ended keep ports of 127.0.0.2 and beyond.
///
/// # Errors
/// [`ServerError::Io`] when the system has none.
pub fn free_ports<const N: usize>() -> Result<[u16; N], ServerError> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        // All are held until the last is found, so that none is given twice.
        let listener = free_port().map_err(ServerError::io("find a free port"))?;
        *port = listener.local_addr().map_err(ServerError::io("find a free port"))?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// A port that the kernel gives to no connection and no one who asks for any: one of those may
/// come before the server that the port is for, or while it is being restarted.
fn free_port() -> std::io::Result<TcpListener> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let given = range.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
    let own = LOWEST_PORT..given.unwrap_or(32_768_u16).max(LOWEST_PORT + 1);
    // Not even tried again: its server may be between its end and its next start.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given_here = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let tries =
        (0..1_000).map(|_| rand::random_range(own.clone())).filter(|port| given_here.insert(*port));
    let mut listeners = tries.filter_map(|port| TcpListener::bind(("0.0.0.0", port)).ok());
    listeners.next().map_or_else(|| TcpListener::bind("0.0.0.0:0"), Ok)
}

/// `NAME-PID-COUNT`: no two servers of this machine have the same.
fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
