//! Many webhooks for one event, one webhook among many of others, and several dispatchers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench::arrivals::Arrivals;
use bench::limit;
use bench::load::AmqpPublisher;
use bench::product::{Product, Running};
use bench::report::Report;
use bench::servers::{self, Postgres, RabbitMq, target_folder};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long the endpoint of several dispatchers takes.
const SLOW: Duration = Duration::from_millis(50);

struct Machine {
    broker: RabbitMq,
    database: Postgres,
    binary: PathBuf,
    settings: Vec<String>,
    deliveries: usize,
}

/// Measures all of it `runs` times, `deliveries` each.
pub(crate) async fn run(
    runs: usize,
    deliveries: usize,
    binary: PathBuf,
    settings: Vec<String>,
) -> anyhow::Result<()> {
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    let (broker, database) = servers::start_both("bench").await?;
    let machine = Machine { broker, database, binary, settings, deliveries };
    let mut report = Report::default();
    for number in 1..=runs.max(1) {
        println!("run {number} of {runs}");
        for webhooks in [1, 10, 100] {
            machine.limit(webhooks, number, &mut report).await?;
            machine.fan_out(webhooks, number, &mut report).await?;
        }
        for others in [1, 1_000, 100_000] {
            machine.among(others, number, &mut report).await?;
        }
        for dispatchers in [1, 2, 4] {
            machine.together(dispatchers, number, &mut report).await?;
        }
    }
    println!("\n{}", report.table());
    Ok(())
}

impl Machine {
    /// The bare loop, so many requests for each message.
    async fn limit(&self, copies: usize, run: usize, report: &mut Report) -> anyhow::Result<()> {
        let url = self.broker.vhost(&format!("limit{run}_{copies}"))?;
        limit::declare(&url).await?;
        let arrivals = Arrivals::start().await?;
        let (target, number) = (arrivals.url(), copies.to_string());
        let arguments = ["limit-loop", "--amqp", &url, "--target", &target, "--copies", &number];
        let _looping = Running::of_this_program(&arguments)?;
        let rate = self.saturate(&url, copies, &arrivals).await?;
        report.add(&format!("limit, {copies} requests for an event, requests/s"), rate);
        Ok(())
    }

    async fn fan_out(
        &self,
        webhooks: usize,
        run: usize,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (product, url, _) = self.product(&format!("fan{run}_{webhooks}"))?;
        let arrivals = Arrivals::start().await?;
        let _running = self.start(&product, webhooks, &arrivals, 1).await?;
        let rate = self.saturate(&url, webhooks, &arrivals).await?;
        report.add(&format!("{webhooks} webhooks for an event, deliveries/s"), rate);
        Ok(())
    }

    async fn among(&self, others: usize, run: usize, report: &mut Report) -> anyhow::Result<()> {
        let (product, url, database) = self.product(&format!("among{run}_{others}"))?;
        let arrivals = Arrivals::start().await?;
        let _running = self.start(&product, 1, &arrivals, 1).await?;
        let sql = format!(
            "INSERT INTO webhooks (id, user_id, name, url, events, project_ids, headers, secret, active, metadata, created_at, updated_at) \
             SELECT gen_random_uuid(), 'usr_other_' || n, name, url, events, project_ids, headers, secret, active, metadata, created_at, updated_at \
             FROM (SELECT * FROM webhooks LIMIT 1) AS one, generate_series(1, {others}) AS n"
        );
        self.database.sql(&database, &sql)?;
        let rate = self.saturate(&url, 1, &arrivals).await?;
        report.add(&format!("{others} webhooks of others in the store, deliveries/s"), rate);
        Ok(())
    }

    /// Several dispatchers, an endpoint that takes its time.
    async fn together(
        &self,
        dispatchers: usize,
        run: usize,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (product, url, _) = self.product(&format!("together{run}_{dispatchers}"))?;
        let arrivals = Arrivals::start_slow(SLOW).await?;
        let _running = self.start(&product, 1, &arrivals, dispatchers).await?;
        let rate = self.saturate(&url, 1, &arrivals).await?;
        report.add(
            &format!("{dispatchers} dispatchers, an endpoint of {SLOW:?}, deliveries/s"),
            rate,
        );
        Ok(())
    }

    /// An installation of its own, its broker's URL, and its database's name.
    fn product(&self, name: &str) -> anyhow::Result<(Product, String, String)> {
        let url = self.broker.vhost(name)?;
        let folder = target_folder().join("bench").join(name);
        let database = self.database.fresh_database()?;
        let mut product = Product::new(self.binary.clone(), folder, &database, &url)?;
        product.set(&self.settings);
        let database = database.rsplit('/').next().unwrap_or_default().to_owned();
        Ok((product, url, database))
    }

    async fn start(
        &self,
        product: &Product,
        webhooks: usize,
        arrivals: &Arrivals,
        dispatchers: usize,
    ) -> anyhow::Result<Vec<Running>> {
        product.run("migrate")?;
        let mut running = vec![product.start("api")?];
        product.wait_ready().await?;
        for _ in 0..webhooks {
            product.webhook_at(&arrivals.url()).await?;
        }
        for number in 0..dispatchers {
            let name = format!("dispatcher{number}");
            // Port 0: nobody asks them here.
            let bind = [("STUDIO__DISPATCHER__BIND", "127.0.0.1:0")];
            running.push(product.start_as(&name, "dispatcher", &bind)?);
        }
        Ok(running)
    }

    /// Requests per second from the first publish to the last arrival, warmed up.
    async fn saturate(&self, url: &str, copies: usize, at: &Arrivals) -> anyhow::Result<f64> {
        let publisher = AmqpPublisher::connect(url).await?;
        let warm = (500 / copies).max(5);
        publisher.flood(warm).await?;
        at.take(warm * copies, PATIENCE).await?;
        let events = self.deliveries / copies;
        let began = Instant::now();
        publisher.flood(events).await?;
        let seen = at.take(events * copies, PATIENCE).await?;
        Ok(seen.count as f64 / (seen.last - began).as_secs_f64())
    }
}
