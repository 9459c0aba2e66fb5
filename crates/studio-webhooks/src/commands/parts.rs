//! What the services are made of, opened from the settings.

use std::future::Future;
use std::net::TcpListener;
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use access::Verifier;
use anyhow::{Context, anyhow};
use broker::SharedBroker;
use delivery::Sender;
use domain::Schedule;
use domain::setting::SecretUrl;
use rustix::process::{Resource, getrlimit, setrlimit};
use store::{Store, StoreError};
use telemetry::Telemetry;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::commands::signals::stop_on_signal;
use crate::config::{Settings, env_key};

/// Threads of a service, at most.
const MOST_THREADS: usize = 512;

/// Runs a service until it ends by itself or by a signal: logging on before, traces sent after.
pub(crate) fn serve<F, R>(
    name: &'static str,
    settings: &Settings,
    service: F,
) -> anyhow::Result<ExitCode>
where
    F: FnOnce(CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    serve_on(runtime().build()?, name, settings, service)
}

/// A runtime of so many threads; 0 is half as many as there are processors.
pub(crate) fn runtime_of(threads: usize) -> std::io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    runtime().worker_threads(threads_of(threads, processors)).build()
}

fn threads_of(wanted: usize, processors: usize) -> usize {
    let threads = if wanted == 0 { processors / 2 } else { wanted };
    threads.clamp(1, MOST_THREADS)
}

fn runtime() -> Builder {
    let mut runtime = Builder::new_multi_thread();
    runtime.enable_all();
    runtime
}

/// As [`serve`], on a runtime of the service's own.
pub(crate) fn serve_on<F, R>(
    runtime: Runtime,
    name: &'static str,
    settings: &Settings,
    service: F,
) -> anyhow::Result<ExitCode>
where
    F: FnOnce(CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    allow_open_files();
    use_small_pages();
    let telemetry: Telemetry = telemetry::init(name, &settings.telemetry)?;
    let result = runtime.block_on(async {
        let stop = stop_on_signal()?;
        service(stop).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    telemetry.shutdown();
    result.map(|()| ExitCode::SUCCESS)
}

/// Allows as many open files as the system lets the process have: what most systems give it to
/// begin with (1,024) is for programs that use `select`, and fewer than the connections of a
/// service. Where that is refused, the process goes on with what it has.
pub(crate) fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
}

/// Memory in pages of 4 KiB only. In the huge ones that the kernel gives to an allocator that asks
/// for them, the halves of buffers that an idle connection never touches are resident, too: 20 KiB
/// for a connection instead of 12.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).ok();
}

/// Runs a command that says what it did, and ends.
pub(crate) fn command(
    name: &'static str,
    settings: &Settings,
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let mut quiet = settings.telemetry.clone();
    // What services log is no part of a command's answer; that it is noted is.
    quiet.filter = "error,audit=info".into();
    quiet.otlp_endpoint = SecretUrl::default();
    let runtime = runtime().build()?;
    let telemetry: Telemetry = telemetry::init(name, &quiet)?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    telemetry.shutdown();
    result
}

/// Binds `address`, the value of the setting `key`.
pub(crate) fn listen(key: &str, address: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("{}: cannot listen on {address:?}; expected a free host:port", env_key(key))
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The verifier of access tokens.
pub(crate) fn verifier(settings: &Settings) -> anyhow::Result<Verifier> {
    Verifier::new(&settings.auth).map_err(|e| {
        let other = if e.key == "auth.jwt_secret" { ", or a key set in auth.jwks" } else { "" };
        anyhow!("{}: {}{other}", env_key(e.key), e.message)
    })
}

/// The sender of attempts.
pub(crate) fn sender(settings: &Settings) -> anyhow::Result<Sender> {
    Sender::new(&settings.delivery).map_err(|e| anyhow!("{}: {}", env_key(e.key), e.message))
}

/// The schedule of retries.
pub(crate) fn schedule(settings: &Settings) -> Schedule {
    Schedule::new(settings.delivery.retry_delays.clone())
}

/// The broker.
pub(crate) async fn broker(settings: &Settings) -> anyhow::Result<SharedBroker> {
    broker::open(&settings.broker).await.map_err(|error| match error {
        broker::BrokerError::Config { key, message } => anyhow!("{}: {message}", env_key(key)),
        other => anyhow!("{}: {other}", env_key("broker.url")),
    })
}

/// The store, as it is.
pub(crate) async fn store(settings: &Settings) -> anyhow::Result<Store> {
    Store::open(&settings.database, &settings.secrets).await.map_err(explain)
}

/// The store, once it can be reached and is up to date. A file of our own is brought up to date
/// at once; a database that several processes share, only by `migrate`.
pub(crate) async fn ready_store(
    settings: &Settings,
    stop: &CancellationToken,
) -> anyhow::Result<Store> {
    let store = store(settings).await?;
    if settings.database.url.expose().starts_with("sqlite:") {
        store.migrate().await.map_err(explain)?;
        return Ok(store);
    }
    let mut warned = false;
    loop {
        match store.check_schema().await {
            Ok(()) => return Ok(store),
            Err(StoreError::Unavailable(reason)) => {
                if !std::mem::replace(&mut warned, true) {
                    let database = settings.database.url.shown();
                    tracing::warn!("waiting for the database at {database}: {reason}");
                }
            }
            Err(other) => return Err(explain(other)),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(anyhow!("stopped before the database was there")),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

pub(crate) fn explain(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Config { key, message } => anyhow!("{}: {message}", env_key(key)),
        other => anyhow!("{}: {other}", env_key("database.url")),
    }
}

#[cfg(test)]
mod tests {
    use super::threads_of;

    #[test]
    fn half_of_the_processors_work_unless_told_otherwise() {
        assert_eq!([1, 2, 3, 8].map(|processors| threads_of(0, processors)), [1, 1, 1, 4]);
        assert_eq!([1, 3, 10_000].map(|wanted| threads_of(wanted, 2)), [1, 3, 512]);
    }
}
