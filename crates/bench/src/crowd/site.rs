//! The product on one of its backends, with processes that can be killed and looked at.

use std::path::Path;
use std::time::Duration;

use super::town::Town;
use crate::chaos::Backend;
use crate::product::{JWT_SECRET, Product, Running};
use crate::servers::{Postgres, RabbitMq, free_ports, start_both, target_folder};
use crate::usage::peak_mib;

/// PostgreSQL's processes tell of what they wrote about once a second.
const TOLD_WITHIN: Duration = Duration::from_millis(1_200);

/// An installation of its own.
pub struct Site {
    pub(super) product: Product,
    servers: Option<Servers>,
    /// `all`, or `api` and the dispatchers.
    running: Vec<Process>,
    /// Of processes that were killed: their peak, MiB, and their processor seconds.
    peak: f64,
    spent: f64,
}

struct Servers {
    broker: RabbitMq,
    database: Postgres,
    url: String,
    /// The database's name.
    name: String,
}

struct Process {
    name: String,
    running: Running,
    /// Where its operators are served.
    operators: String,
}

/// Rows of `deliveries`, and how often one of them was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writes {
    /// Rows that were added.
    pub rows: u64,
    /// Rows that were added or changed.
    pub writes: u64,
}

impl Site {
    /// Starts the product at its defaults; `settings` are what a scenario or a flag asks for.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(
        name: &str,
        binary: &Path,
        backend: Backend,
        dispatchers: usize,
        settings: &[String],
    ) -> anyhow::Result<Self> {
        let folder = target_folder().join(format!("bench/crowd-{name}-{}", std::process::id()));
        let (servers, database, broker) = match backend {
            Backend::Embedded => {
                let file = |name: &str| folder.join(name).display().to_string();
                let database = format!("sqlite://{}", file("store.db"));
                (None, database, format!("embedded://{}", file("queues.db")))
            }
            Backend::Servers => {
                let servers = Servers::start().await?;
                let (database, broker) = (servers.database.url(&servers.name), servers.url.clone());
                (Some(servers), database, broker)
            }
        };
        let mut product = Product::new(binary.to_owned(), folder, &database, &broker)?;
        product.set(settings);
        let mut site = Self { product, servers, running: Vec::new(), peak: 0.0, spent: 0.0 };
        if backend == Backend::Embedded {
            site.launch("all")?;
        } else {
            site.product.run("migrate")?;
            site.launch("api")?;
            for number in 1..=dispatchers.max(1) {
                site.launch(&format!("dispatcher-{number}"))?;
            }
        }
        site.product.wait_ready().await?;
        Ok(site)
    }

    /// How users and publishers see it.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn town(&self) -> anyhow::Result<Town> {
        Town::at(&self.product.api, JWT_SECRET, self.broker_url()).await
    }

    /// Where publishers find the broker, where there is one.
    #[must_use]
    pub fn broker_url(&self) -> Option<&str> {
        self.servers.as_ref().map(|servers| servers.url.as_str())
    }

    /// Another virtual host of the broker.
    pub(super) fn another_vhost(&self, name: &str) -> anyhow::Result<Option<String>> {
        self.servers.as_ref().map(|servers| Ok(servers.broker.vhost(name)?)).transpose()
    }

    fn launch(&mut self, name: &str) -> anyhow::Result<()> {
        let [port] = free_ports()?;
        let operators = format!("127.0.0.1:{port}");
        let command = name.split('-').next().unwrap_or(name);
        let bind = match command {
            "dispatcher" => "STUDIO__DISPATCHER__BIND",
            _ => "STUDIO__OPERATE__BIND",
        };
        let running = self.product.start_as(name, command, &[(bind, &operators)])?;
        let operators = format!("http://{operators}");
        self.running.push(Process { name: name.to_owned(), running, operators });
        Ok(())
    }

    /// Kills the process that dispatches, the `number`th of several in turn, and starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kill_a_dispatcher(&mut self, number: usize) -> anyhow::Result<()> {
        let dispatching = |process: &Process| process.name != "api";
        let count = self.running.iter().filter(|process| dispatching(process)).count();
        let mut places = (0..self.running.len()).filter(|at| dispatching(&self.running[*at]));
        let Some(place) = places.nth(number % count.max(1)) else { return Ok(()) };
        let killed = self.running.remove(place);
        let pid = [killed.running.pid()];
        self.peak = self.peak.max(peak_mib(&pid));
        self.spent += crate::usage::cpu_seconds(&pid);
        let name = killed.name.clone();
        drop(killed);
        self.launch(&name)
    }

    /// The most memory that one process of the product had resident, MiB.
    #[must_use]
    pub fn peak_mib(&self) -> f64 {
        let peaks = self.running.iter().map(|process| peak_mib(&[process.running.pid()]));
        peaks.fold(self.peak, f64::max)
    }

    /// Processor seconds of its processes so far.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        let pids: Vec<u32> = self.running.iter().map(|process| process.running.pid()).collect();
        self.spent + crate::usage::cpu_seconds(&pids)
    }

    /// What PostgreSQL has counted of `deliveries` so far; `None` in one process.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn writes(&self) -> anyhow::Result<Option<Writes>> {
        let Some(servers) = &self.servers else { return Ok(None) };
        tokio::time::sleep(TOLD_WITHIN).await;
        let sql = "SELECT n_tup_ins, n_tup_ins + n_tup_upd FROM pg_stat_user_tables \
                   WHERE relname = 'deliveries'";
        let line = servers.database.sql(&servers.name, sql)?;
        let (rows, writes) = line.trim().split_once('|').unwrap_or(("0", "0"));
        Ok(Some(Writes { rows: rows.parse()?, writes: writes.parse()? }))
    }

    /// The sum of a counter over all of its processes, of each since it was started.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for process in &self.running {
            let answer = self.product.client.get(format!("{}/metrics", process.operators)).send();
            let Ok(answer) = answer.await else { continue };
            sum += total(&answer.text().await.unwrap_or_default(), name);
        }
        sum
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.running.clear();
        self.product.remove_files();
    }
}

impl Servers {
    async fn start() -> anyhow::Result<Self> {
        let (broker, database) = start_both("crowd").await?;
        let url = broker.vhost("crowd")?;
        let at = database.fresh_database()?;
        let name = at.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Self { broker, database, url, name })
    }
}

impl Writes {
    /// What has been added since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { rows: self.rows - before.rows, writes: self.writes - before.writes }
    }

    /// Writes for each row.
    #[must_use]
    pub fn each(self) -> f64 {
        self.writes as f64 / self.rows.max(1) as f64
    }
}

/// The sum of all series of a counter in Prometheus' text.
#[must_use]
pub fn total(metrics: &str, name: &str) -> f64 {
    let is_it =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit_once(' ')?.1.parse::<f64>().ok();
    metrics.lines().filter(is_it).filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_the_sum_of_its_series() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_b 9\n";
        assert!((total(text, "a_total") - 5.0).abs() < f64::EPSILON);
    }
}
