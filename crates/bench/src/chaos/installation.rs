//! The product on servers of its own, to be broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::{Backend, Fault};
use crate::ledger::must_end_empty;
use crate::product::{Product, Running};
use crate::servers::{Postgres, RabbitMq, Signal, start_both, target_folder};

/// Messages that a dispatcher takes and has not finished, at most: what a kill can double.
const PREFETCH: [usize; 2] = [200, 100];

/// How many dispatchers share the work.
const DISPATCHERS: usize = 2;

/// How long a stop may take: the time of an attempt and something.
const STOP_WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Installation {
    pub(crate) product: Product,
    folder: PathBuf,
    servers: Option<Servers>,
    running: BTreeMap<String, Running>,
    keep: bool,
}

struct Servers {
    broker: RabbitMq,
    database: Postgres,
}

impl Installation {
    /// The product on `backend` with these settings, its files and logs below `name`.
    pub(crate) async fn start(
        name: &str,
        binary: &Path,
        backend: Backend,
        settings: &[String],
    ) -> anyhow::Result<Self> {
        let folder = target_folder().join(format!("{name}-{backend:?}-{}", std::process::id()));
        let (servers, database, broker) = match backend {
            Backend::Embedded => {
                let file = |name: &str| folder.join(name).display().to_string();
                let database = format!("sqlite://{}", file("store.db"));
                (None, database, format!("embedded://{}", file("queues.db")))
            }
            Backend::Servers => {
                let (broker, database) = start_both("chaos").await?;
                let servers = Servers { broker, database };
                let database = servers.database.fresh_database()?;
                // Frozen partners are noticed sooner than in production, the rest is the same.
                let broker = format!("{}?heartbeat=4", servers.broker.url());
                (Some(servers), database, broker)
            }
        };
        let mut product = Product::new(binary.to_owned(), folder.clone(), &database, &broker)?;
        product.set(settings);
        let running = BTreeMap::new();
        let mut installation = Self { product, folder, servers, running, keep: false };
        if installation.servers.is_none() {
            installation.launch("all")?;
        } else {
            installation.product.run("migrate")?;
            installation.launch("api")?;
            for number in 0..DISPATCHERS {
                installation.launch(&dispatcher(number))?;
            }
        }
        installation.wait_ready().await?;
        installation.wait_until_durable().await?;
        Ok(installation)
    }

    /// The broker's URL for publishers; with the embedded broker they go through the API.
    pub(super) fn amqp_url(&self) -> Option<String> {
        Some(format!("{}?heartbeat=4", self.servers.as_ref()?.broker.url()))
    }

    pub(crate) async fn wait_ready(&self) -> anyhow::Result<()> {
        self.product.wait_ready().await
    }

    /// Processor time of everything that dispatches so far, in seconds.
    pub(crate) fn dispatching_cpu(&self) -> f64 {
        let dispatching = self.running.iter().filter(|(name, _)| *name != "api");
        crate::usage::cpu_seconds(
            &dispatching.map(|(_, running)| running.pid()).collect::<Vec<_>>(),
        )
    }

    /// Breaks something, and mends it.
    pub(super) async fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::KillDispatcher(number) => self.kill(&dispatcher(number)),
            Fault::StopDispatcher(number) => self.stop(&dispatcher(number)).await,
            Fault::FreezeDispatcher(number, time) => self.freeze(&dispatcher(number), time).await,
            Fault::KillApi => self.kill("api"),
            Fault::KillAll => self.kill("all"),
            Fault::StopAll => self.stop("all").await,
            Fault::FreezeAll(time) => self.freeze("all", time).await,
            Fault::KillBroker | Fault::FreezeBroker(_) => {
                self.with_servers(move |servers| servers.break_broker(fault)).await
            }
            Fault::KillDatabase | Fault::FreezeDatabase(_) => {
                self.with_servers(move |servers| servers.break_database(fault)).await
            }
        }
    }

    /// How many requests may come twice through this fault: what was taken and not acknowledged.
    pub(super) fn under_way(&self, fault: Fault) -> usize {
        let taken: usize = PREFETCH.iter().sum();
        match fault {
            Fault::KillDispatcher(_) | Fault::FreezeDispatcher(..) | Fault::KillAll => taken,
            // What one had taken, the other is given.
            Fault::KillBroker | Fault::FreezeBroker(_) => taken * DISPATCHERS,
            _ => 0,
        }
    }

    /// How many messages each queue that has to be empty still holds, once they are or `within` has
    /// passed; nothing for the embedded broker, whose deliveries the log tells of. RabbitMQ counts
    /// a quorum queue every five seconds, and copies of retries whose deliveries have ended wait
    /// out their delay.
    pub(crate) async fn queues(
        &mut self,
        within: Duration,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let until = Instant::now() + within;
        loop {
            let Some(depths) = self.ask_broker(|broker| broker.queue_depths("/")).await? else {
                return Ok(BTreeMap::new());
            };
            let mut depths = depths?;
            // Others belong to a process: announcements that it acknowledges now and then.
            depths.retain(|name, _| name.starts_with("studio.") && must_end_empty(name));
            if depths.values().all(|depth| *depth == 0) {
                return Ok(depths);
            }
            if Instant::now() >= until {
                return self.without_stuck(depths).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Leaves out what RabbitMQ itself does not pass on any more: the deliveries were made by the
    /// sweep, and copies of them stay until RabbitMQ is started again.
    async fn without_stuck(
        &mut self,
        mut depths: BTreeMap<String, u64>,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let Some(workers) = self.ask_broker(RabbitMq::dead_letter_workers).await? else {
            return Ok(depths);
        };
        // Every queue that must end empty has dead letters.
        let (workers, queues) = (workers?, depths.len());
        println!("not empty: {depths:?}; {workers} of {queues} queues pass dead letters on");
        if workers < queues {
            depths.retain(|name, _| !name.starts_with("studio.deliver."));
        }
        Ok(depths)
    }

    /// Asks RabbitMQ, where there is one, without holding up others of this thread.
    async fn ask_broker<T: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&RabbitMq) -> T + Send + 'static,
    ) -> anyhow::Result<Option<T>> {
        let Some(servers) = self.servers.take() else { return Ok(None) };
        let (servers, answer) = spawn_blocking(move || {
            let answer = ask(&servers.broker);
            (servers, answer)
        })
        .await?;
        self.servers = Some(servers);
        Ok(Some(answer))
    }

    /// Leaves the services' logs where they are, for whoever wants to know what happened.
    pub(super) fn keep_logs(&mut self) {
        self.keep = true;
        println!("the services' logs are kept in {}", self.folder.display());
    }

    fn launch(&mut self, name: &str) -> anyhow::Result<()> {
        let command = name.split('-').next().unwrap_or(name);
        // Only one of several dispatchers can have the port that is set.
        let bind = [("STUDIO__DISPATCHER__BIND", "127.0.0.1:0")];
        let own = if name.contains('-') { &bind[..] } else { &[] };
        let running = self.product.start_as(name, command, own)?;
        self.running.insert(name.to_owned(), running);
        Ok(())
    }

    fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        drop(self.running.remove(name));
        self.launch(name)
    }

    async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(running) = self.running.remove(name) {
            let ended = spawn_blocking(move || running.stop(STOP_WITHIN)).await??;
            anyhow::ensure!(ended, "{name} did not stop within {STOP_WITHIN:?}");
        }
        self.launch(name)
    }

    async fn freeze(&mut self, name: &str, time: Duration) -> anyhow::Result<()> {
        let Some(running) = self.running.get(name) else { return Ok(()) };
        running.signal(Signal::Stop)?;
        tokio::time::sleep(time).await;
        Ok(running.signal(Signal::Cont)?)
    }

    /// A broker that is killed right after its queues were declared may lose them for good: a
    /// fault of its own.
    async fn wait_until_durable(&mut self) -> anyhow::Result<()> {
        if self.servers.is_none() {
            return Ok(());
        }
        self.with_servers(|servers| {
            for queue in ["studio.dispatch", "studio.deliver", "studio.deliver.wait.5s"] {
                servers.broker.wait_until_durable(queue)?;
            }
            servers.broker.wait_until_streams_are_durable()?;
            Ok(())
        })
        .await
    }

    async fn with_servers(
        &mut self,
        work: impl FnOnce(&mut Servers) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let Some(mut servers) = self.servers.take() else { return Ok(()) };
        let (servers, result) = spawn_blocking(move || {
            let result = work(&mut servers);
            (servers, result)
        })
        .await?;
        self.servers = Some(servers);
        result
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.running.clear();
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            eprintln!("{} was not removed: {error}", self.folder.display());
        }
    }
}

impl Servers {
    fn break_broker(&mut self, fault: Fault) -> anyhow::Result<()> {
        if let Fault::FreezeBroker(time) = fault {
            self.broker.sigstop()?;
            std::thread::sleep(time);
            return Ok(self.broker.sigcont()?);
        }
        self.broker.kill9()?;
        Ok(self.broker.restart()?)
    }

    fn break_database(&mut self, fault: Fault) -> anyhow::Result<()> {
        if let Fault::FreezeDatabase(time) = fault {
            self.database.sigstop()?;
            std::thread::sleep(time);
            return Ok(self.database.sigcont()?);
        }
        self.database.kill9()?;
        Ok(self.database.restart()?)
    }
}

fn dispatcher(number: usize) -> String {
    format!("dispatcher-{number}")
}

/// A schedule, a time-out and a sweep that are over while the ledger waits for the last delivery;
/// and few messages taken, because the ledger counts every request that comes twice against what
/// was under way at a kill: with the default prefetch that bound would be above all that is sent.
pub(super) fn settings() -> Vec<String> {
    [
        "STUDIO__DELIVERY__RETRY_DELAYS=1s,2s,3s,4s".to_owned(),
        "STUDIO__DELIVERY__TIMEOUT=5s".to_owned(),
        "STUDIO__DISPATCHER__SWEEP_EVERY=5s".to_owned(),
        "STUDIO__DISPATCHER__GRACE=15s".to_owned(),
        format!("STUDIO__DISPATCHER__PREFETCH={}", PREFETCH[0]),
        format!("STUDIO__DISPATCHER__DELIVER_PREFETCH={}", PREFETCH[1]),
    ]
    .to_vec()
}
