//! What is measured, in which order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::arrivals::{Arrivals, Seen};
use bench::limit;
use bench::load::{AmqpPublisher, HttpPublisher};
use bench::product::{Product, Running, token};
use bench::report::Report;
use bench::servers::{self, Postgres, RabbitMq, target_folder};
use bench::usage::{cpu_seconds, disks_busy, family, peak_mib};

/// Events a second at the low rate, and for how long.
const LOW_RATE: u32 = 200;
const LOW_LENGTH: Duration = Duration::from_secs(10);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A disk that was busy for less of a second is at rest.
const AT_REST: Duration = Duration::from_millis(30);

/// Seconds that this is waited for.
const SETTLED_WITHIN: u32 = 60;

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The bare loop.
    Limit,
    /// The three services on RabbitMQ and PostgreSQL.
    Services,
    /// One process, everything in SQLite files.
    Embedded,
}

struct Machine {
    broker: RabbitMq,
    database: Postgres,
    arrivals: Arrivals,
    binary: PathBuf,
    settings: Vec<String>,
    events: usize,
}

pub(crate) async fn run(
    runs: usize,
    events: usize,
    binary: PathBuf,
    settings: Vec<String>,
    only: &[Part],
) -> anyhow::Result<()> {
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    let (broker, database) = servers::start_both("bench").await?;
    let arrivals = Arrivals::start().await?;
    let machine = Machine { broker, database, arrivals, binary, settings, events };
    let mut report = Report::default();
    for number in 1..=runs.max(1) {
        println!("run {number} of {runs}");
        for part in [Part::Limit, Part::Services, Part::Embedded] {
            if !only.is_empty() && !only.contains(&part) {
                continue;
            }
            machine.settle().await?;
            match part {
                Part::Limit => machine.measure_limit(number, &mut report).await?,
                Part::Services => machine.measure_services(number, &mut report).await?,
                Part::Embedded => machine.measure_embedded(number, &mut report).await?,
            }
        }
    }
    println!("\n{}", ratios(&report));
    println!("{}", report.table());
    Ok(())
}

/// What the targets speak of.
fn ratios(report: &Report) -> String {
    let lines = [
        (
            "while publishing, deliveries/s of the limit's",
            "services saturated, deliveries/s",
            "limit saturated, deliveries/s",
        ),
        (
            "draining, deliveries/s of the limit's",
            "services draining, deliveries/s",
            "limit draining, deliveries/s",
        ),
        ("p50 at 200/s, times the limit's", "services at 200/s, p50 ms", "limit at 200/s, p50 ms"),
        ("p99 at 200/s, times the limit's", "services at 200/s, p99 ms", "limit at 200/s, p99 ms"),
        (
            "embedded, deliveries/s of sign-and-POST's",
            "embedded batches, deliveries/s",
            "limit from memory, deliveries/s",
        ),
        (
            "embedded p50 at 200/s, times the services'",
            "embedded at 200/s, p50 ms",
            "services at 200/s, p50 ms",
        ),
        (
            "embedded p99 at 200/s, times the services'",
            "embedded at 200/s, p99 ms",
            "services at 200/s, p99 ms",
        ),
    ];
    let shown =
        lines.iter().filter_map(|(text, a, b)| Some(format!("{text}: {}\n", report.ratio(a, b)?)));
    shown.collect()
}

impl Machine {
    /// Waits until what was written before is on the disk, and the disk at rest: nobody pays for
    /// another's part.
    async fn settle(&self) -> anyhow::Result<()> {
        // What it would write in the next minutes.
        self.database.sql("postgres", "CHECKPOINT")?;
        let sync = || std::process::Command::new("sync").status();
        let settled = tokio::task::spawn_blocking(sync).await??;
        anyhow::ensure!(settled.success(), "sync failed: {settled}");
        for _ in 0..SETTLED_WITHIN {
            let before = disks_busy();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if disks_busy() - before < AT_REST {
                return Ok(());
            }
        }
        println!("the disk does not come to rest: figures of latency may show it");
        Ok(())
    }

    async fn vhost(&self, name: String) -> anyhow::Result<String> {
        Ok(self.broker.vhost(&name)?)
    }

    async fn measure_limit(&self, number: usize, report: &mut Report) -> anyhow::Result<()> {
        let url = self.vhost(format!("limit{number}")).await?;
        limit::declare(&url).await?;
        let target = self.arrivals.url();
        let start =
            || Running::of_this_program(&["limit-loop", "--amqp", &url, "--target", &target]);
        let publisher = AmqpPublisher::connect(&url).await?;
        let looping = start()?;
        self.warm_up(&publisher).await?;
        self.low_rate("limit", &publisher, report).await?;
        let used =
            || [("the loop", cpu_seconds(&[looping.pid()])), ("RabbitMQ", self.broker_cpu())];
        let before = used();
        self.saturate("limit", &publisher, report).await?;
        self.add_used("limit", before, used(), report);
        drop(looping);
        publisher.flood(self.events).await?;
        let looping = start()?;
        self.drain("limit", report).await?;
        drop(looping);
        let count = (self.events * 4).to_string();
        let from_memory =
            Running::of_this_program(&["limit-memory", "--target", &target, "--count", &count])?;
        let seen = self.arrivals.take(self.events * 4, PATIENCE).await?;
        drop(from_memory);
        report.add("limit from memory, deliveries/s", rate(&seen));
        Ok(())
    }

    async fn measure_services(&self, number: usize, report: &mut Report) -> anyhow::Result<()> {
        let url = self.vhost(format!("services{number}")).await?;
        let folder = target_folder().join(format!("bench/services{number}"));
        let mut product =
            Product::new(self.binary.clone(), folder, &self.database.fresh_database()?, &url)?;
        product.set(&self.settings);
        product.run("migrate")?;
        let api = product.start("api")?;
        product.wait_ready().await?;
        product.webhook(&self.arrivals.url()).await?;
        let dispatcher = product.start("dispatcher")?;
        let publisher = AmqpPublisher::connect(&url).await?;
        self.warm_up(&publisher).await?;
        self.low_rate("services", &publisher, report).await?;
        let before = self.used(&dispatcher);
        self.saturate("services", &publisher, report).await?;
        // What is recorded after the last arrival counts too.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = self.used(&dispatcher);
        self.add_used("services", before, after, report);
        report.add("services, peak MiB of the dispatcher", peak_mib(&[dispatcher.pid()]));
        let broker = self.broker.pid().map(family).unwrap_or_default();
        report.add("services, peak MiB of RabbitMQ", peak_mib(&broker));
        // Shared buffers count once for each process that touched them.
        report.add("services, peak MiB of PostgreSQL's processes", peak_mib(&self.database.pids()));
        self.through_the_api(&product, &api, report).await?;
        drop(dispatcher);
        publisher.flood(self.events).await?;
        let dispatcher = product.start("dispatcher")?;
        self.drain("services", report).await?;
        let text = "services draining, peak MiB of the dispatcher";
        report.add(text, peak_mib(&[dispatcher.pid()]));
        drop(dispatcher);
        Ok(())
    }

    async fn measure_embedded(&self, number: usize, report: &mut Report) -> anyhow::Result<()> {
        let folder = target_folder().join(format!("bench/embedded{number}-{}", std::process::id()));
        let (database, broker) = (folder.join("store.db"), folder.join("queues.db"));
        let mut product = Product::new(
            self.binary.clone(),
            folder.clone(),
            &format!("sqlite://{}", database.display()),
            &format!("embedded://{}", broker.display()),
        )?;
        product.set(&self.settings);
        let all = product.start("all")?;
        product.wait_ready().await?;
        product.webhook(&self.arrivals.url()).await?;
        let publisher = publisher(&product);
        publisher.flood(500, 100).await?;
        self.arrivals.take(500, PATIENCE).await?;
        let count = publisher.trickle(LOW_RATE, LOW_LENGTH).await?;
        note_latency("embedded", &self.arrivals.take(count, PATIENCE).await?, report);
        let before = cpu_seconds(&[all.pid()]);
        let began = Instant::now();
        publisher.flood(self.events, 100).await?;
        let seen = self.arrivals.take(self.events, PATIENCE).await?;
        report.add(
            "embedded batches, deliveries/s",
            seen.count as f64 / (seen.last - began).as_secs_f64(),
        );
        let used = (cpu_seconds(&[all.pid()]) - before) * 100_000.0 / self.events as f64;
        report.add("embedded, CPU s per 100,000 deliveries", used);
        report.add("embedded, peak MiB", peak_mib(&[all.pid()]));
        let began = Instant::now();
        publisher.flood(self.events / 10, 1).await?;
        let seen = self.arrivals.take(self.events / 10, PATIENCE).await?;
        report.add(
            "embedded singly, deliveries/s",
            seen.count as f64 / (seen.last - began).as_secs_f64(),
        );
        drop(all);
        remove(&folder);
        Ok(())
    }

    /// The services once more, with events through `POST /v1/events`.
    async fn through_the_api(
        &self,
        product: &Product,
        api: &Running,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let publisher = publisher(product);
        let before = cpu_seconds(&[api.pid()]);
        let began = Instant::now();
        publisher.flood(self.events, 100).await?;
        let seen = self.arrivals.take(self.events, PATIENCE).await?;
        let rate = seen.count as f64 / (seen.last - began).as_secs_f64();
        report.add("services through POST /v1/events, deliveries/s", rate);
        let used = (cpu_seconds(&[api.pid()]) - before) * 100_000.0 / self.events as f64;
        report.add("services, CPU s of the API per 100,000 events", used);
        report.add("services, peak MiB of the API", peak_mib(&[api.pid()]));
        Ok(())
    }

    async fn warm_up(&self, publisher: &AmqpPublisher) -> anyhow::Result<()> {
        publisher.flood(500).await?;
        self.arrivals.take(500, PATIENCE).await?;
        Ok(())
    }

    async fn low_rate(
        &self,
        name: &str,
        publisher: &AmqpPublisher,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let count = publisher.trickle(LOW_RATE, LOW_LENGTH).await?;
        note_latency(name, &self.arrivals.take(count, PATIENCE).await?, report);
        Ok(())
    }

    async fn saturate(
        &self,
        name: &str,
        publisher: &AmqpPublisher,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        publisher.flood(self.events).await?;
        let seen = self.arrivals.take(self.events, PATIENCE).await?;
        let rate = seen.count as f64 / (seen.last - began).as_secs_f64();
        report.add(&format!("{name} saturated, deliveries/s"), rate);
        report.add(&format!("{name} saturated, p50 ms"), seen.percentile_ms(0.5));
        report.add(&format!("{name} saturated, p99 ms"), seen.percentile_ms(0.99));
        Ok(())
    }

    async fn drain(&self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        let seen = self.arrivals.take(self.events, PATIENCE).await?;
        report.add(&format!("{name} draining, deliveries/s"), rate(&seen));
        Ok(())
    }

    /// CPU seconds so far of each process that a delivery costs.
    fn used(&self, dispatcher: &Running) -> [(&'static str, f64); 3] {
        [
            ("the dispatcher", cpu_seconds(&[dispatcher.pid()])),
            ("RabbitMQ", self.broker_cpu()),
            ("PostgreSQL", cpu_seconds(&self.database.pids())),
        ]
    }

    fn broker_cpu(&self) -> f64 {
        cpu_seconds(&self.broker.pid().map(family).unwrap_or_default())
    }

    /// What each process used between two looks, for 100,000 deliveries.
    fn add_used<const N: usize>(
        &self,
        what: &str,
        before: [(&str, f64); N],
        after: [(&str, f64); N],
        report: &mut Report,
    ) {
        for ((name, before), (_, after)) in before.into_iter().zip(after) {
            let used = (after - before) * 100_000.0 / self.events as f64;
            report.add(&format!("{what}, CPU s of {name} per 100,000 deliveries"), used);
        }
    }
}

fn publisher(product: &Product) -> HttpPublisher {
    HttpPublisher {
        client: product.client.clone(),
        base: product.api.clone(),
        token: token("service"),
    }
}

fn rate(seen: &Seen) -> f64 {
    (seen.count - 1) as f64 / (seen.last - seen.first).as_secs_f64()
}

fn note_latency(name: &str, seen: &Seen, report: &mut Report) {
    report.add(&format!("{name} at 200/s, p50 ms"), seen.percentile_ms(0.5));
    report.add(&format!("{name} at 200/s, p99 ms"), seen.percentile_ms(0.99));
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("{} was not removed: {error}", folder.display());
    }
}
