//! `make soak`: steady load for a long time. At the end each of the product's processes has as
//! much memory as once it had settled, or this fails.

use std::path::PathBuf;
use std::time::Duration;

use bench::arrivals::Arrivals;
use bench::load::{AmqpPublisher, HttpPublisher};
use bench::product::{Product, Running, token};
use bench::servers::{self, Postgres, RabbitMq, target_folder};
use bench::usage::{family, resident_mib};

const MINUTE: Duration = Duration::from_secs(60);

/// How long the arrivals of a minute may take beyond it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The minute after which everything has settled: the gateway remembers the events of five
/// (`gateway.resume_age`).
const SETTLED: u32 = 6;

/// Growth of a process from then to the last minute that is none: a fifth, and 16 MiB for caches
/// that fill (the ids of 200,000 events among them).
const GROWTH: f64 = 1.2;
const CACHES: f64 = 16.0;

enum Publisher {
    Amqp(Box<AmqpPublisher>),
    Http(HttpPublisher),
}

impl Publisher {
    async fn trickle(&self, rate: u32, length: Duration) -> anyhow::Result<usize> {
        match self {
            Self::Amqp(publisher) => publisher.trickle(rate, length).await,
            Self::Http(publisher) => publisher.trickle(rate, length).await,
        }
    }
}

/// What runs, and how to look at it.
struct Subject {
    product: Product,
    processes: Vec<(&'static str, Running)>,
    servers: Option<(RabbitMq, Postgres)>,
    publisher: Publisher,
}

pub(crate) async fn run(
    minutes: u32,
    rate: u32,
    embedded: bool,
    binary: PathBuf,
) -> anyhow::Result<()> {
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    let arrivals = Arrivals::start().await?;
    let subject = if embedded {
        alone(binary, &arrivals).await?
    } else {
        services(binary, &arrivals).await?
    };
    let settled = SETTLED.min(minutes / 2).max(1);
    let mut first = Vec::new();
    for minute in 1..=minutes.max(2) {
        let count = subject.publisher.trickle(rate, MINUTE).await?;
        let seen = arrivals.take(count, PATIENCE).await?;
        let now = subject.memory();
        let shown: Vec<String> =
            now.iter().map(|(name, mib)| format!("{name} {mib:.1} MiB")).collect();
        println!(
            "minute {minute}: {count} delivered, p99 {:.1} ms; {}",
            seen.percentile_ms(0.99),
            shown.join(", ")
        );
        if minute == settled {
            first = now;
        }
    }
    let last = subject.memory();
    let grown = |(name, before): &(&str, f64), (_, after): &(&str, f64)| {
        (*after > before * GROWTH + CACHES).then(|| format!("{name}: {before:.1} → {after:.1} MiB"))
    };
    // Servers grow with what they keep; that is theirs.
    let own = subject.processes.len();
    let grown: Vec<String> =
        first.iter().zip(&last).take(own).filter_map(|(a, b)| grown(a, b)).collect();
    anyhow::ensure!(grown.is_empty(), "memory grew: {}", grown.join(", "));
    println!("After {minutes} min each process has the memory that it had after one.");
    drop(subject.product);
    Ok(())
}

impl Subject {
    /// Resident memory: the product's processes first.
    fn memory(&self) -> Vec<(&'static str, f64)> {
        let own = self.processes.iter();
        let mut all: Vec<_> =
            own.map(|(name, process)| (*name, resident_mib(&[process.pid()]))).collect();
        if let Some((broker, database)) = &self.servers {
            let broker = broker.pid().map(family).unwrap_or_default();
            all.push(("RabbitMQ", resident_mib(&broker)));
            all.push(("PostgreSQL", resident_mib(&database.pids())));
        }
        all
    }
}

async fn services(binary: PathBuf, arrivals: &Arrivals) -> anyhow::Result<Subject> {
    let (broker, database) = servers::start_both("soak").await?;
    let (url, folder) = (broker.vhost("soak")?, target_folder().join("bench/soak"));
    let product = Product::new(binary, folder, &database.fresh_database()?, &url)?;
    product.run("migrate")?;
    let api = product.start("api")?;
    product.wait_ready().await?;
    product.webhook(&arrivals.url()).await?;
    let dispatcher = product.start("dispatcher")?;
    let gateway = product.start("gateway")?;
    let publisher = Publisher::Amqp(Box::new(AmqpPublisher::connect(&url).await?));
    let processes = vec![("dispatcher", dispatcher), ("api", api), ("gateway", gateway)];
    Ok(Subject { product, processes, servers: Some((broker, database)), publisher })
}

async fn alone(binary: PathBuf, arrivals: &Arrivals) -> anyhow::Result<Subject> {
    let folder = target_folder().join(format!("bench/soak-{}", std::process::id()));
    let (database, broker) = (folder.join("store.db"), folder.join("queues.db"));
    let product = Product::new(
        binary,
        folder,
        &format!("sqlite://{}", database.display()),
        &format!("embedded://{}", broker.display()),
    )?;
    let all = product.start("all")?;
    product.wait_ready().await?;
    product.webhook(&arrivals.url()).await?;
    let (client, base) = (product.client.clone(), product.api.clone());
    let publisher = Publisher::Http(HttpPublisher { client, base, token: token("service") });
    Ok(Subject { product, processes: vec![("all", all)], servers: None, publisher })
}
