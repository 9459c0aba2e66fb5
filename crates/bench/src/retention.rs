//! `make bench-retention`: old deliveries are removed from a large PostgreSQL while 200 events a
//! second are delivered.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench::arrivals::{Arrivals, Seen};
use bench::load::AmqpPublisher;
use bench::product::Product;
use bench::servers::{self, Postgres, target_folder};

const RATE: u32 = 200;

/// How long one measurement of latency takes.
const LENGTH: Duration = Duration::from_secs(15);

const PATIENCE: Duration = Duration::from_secs(60);

/// Of the 150 days of which there are deliveries, those that are kept.
const KEPT_DAYS: u32 = 142;

/// Webhooks that the deliveries in the database belong to.
const WEBHOOKS: u64 = 1_000;

pub(crate) async fn run(rows: u64, binary: PathBuf) -> anyhow::Result<()> {
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    let (broker, database) = servers::start_both("old").await?;
    let (url, folder) = (broker.vhost("old")?, target_folder().join("bench/retention"));
    let at = database.fresh_database()?;
    let name = at.rsplit('/').next().unwrap_or_default().to_owned();
    let mut product = Product::new(binary, folder, &at, &url)?;
    product.run("migrate")?;
    let began = Instant::now();
    fill(&database, &name, rows)?;
    println!("{rows} deliveries filled in within {:.0} s", began.elapsed().as_secs_f64());

    let arrivals = Arrivals::start().await?;
    let _api = product.start("api")?;
    product.wait_ready().await?;
    product.webhook(&arrivals.url()).await?;
    let publisher = AmqpPublisher::connect(&url).await?;
    let dispatcher = product.start("dispatcher")?;
    publisher.flood(500).await?;
    arrivals.take(500, PATIENCE).await?;
    say("before", &trickle(&publisher, &arrivals).await?);
    drop(dispatcher);

    product.set(&[
        "STUDIO__DISPATCHER__RETENTION_EVERY=100ms".to_owned(),
        format!("STUDIO__DATABASE__RETENTION={KEPT_DAYS}d"),
    ]);
    let old = old(&database, &name)?;
    let began = Instant::now();
    let _dispatcher = product.start("dispatcher")?;
    let mut slowest = 0.0_f64;
    loop {
        let seen = trickle(&publisher, &arrivals).await?;
        slowest = slowest.max(seen.percentile_ms(0.99));
        let left = old_left(&database, &name)?;
        say(&format!("{:.0} s, some old left: {left}", began.elapsed().as_secs_f64()), &seen);
        if !left {
            break;
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!("{old} deliveries removed within {took:.0} s, {:.0} a second", old as f64 / took);
    println!("slowest p99 of {} s meanwhile: {slowest:.2} ms", LENGTH.as_secs());
    let metrics = product.client.get(format!("{}/metrics", product.dispatcher)).send().await?;
    for line in metrics.text().await?.lines().filter(|line| line.contains("retention_step")) {
        println!("{line}");
    }
    say("after", &trickle(&publisher, &arrivals).await?);
    Ok(())
}

async fn trickle(publisher: &AmqpPublisher, arrivals: &Arrivals) -> anyhow::Result<Seen> {
    let count = publisher.trickle(RATE, LENGTH).await?;
    arrivals.take(count, PATIENCE).await
}

fn say(when: &str, seen: &Seen) {
    let (p50, p99) = (seen.percentile_ms(0.5), seen.percentile_ms(0.99));
    println!("{when}: {} events at {RATE}/s, p50 {p50:.2} ms, p99 {p99:.2} ms", seen.count);
}

/// Deliveries of the last 150 days, as many each day.
fn fill(database: &Postgres, name: &str, rows: u64) -> anyhow::Result<()> {
    let at = format!(
        "(EXTRACT(EPOCH FROM now()) * 1000000)::bigint \
         - (150 - 150 * n::numeric / {rows})::bigint * 86400000000"
    );
    let statements = format!(
        "INSERT INTO events (key, user_id, event_id, kind, created_at, payload)
         SELECT md5('e' || n)::uuid, 'usr_old', 'evt_' || n, 'scrape.completed', at,
             convert_to('{{\"id\":\"evt_' || n || '\",\"event\":\"scrape.completed\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"data\":{{\"text\":\"' || repeat('x', 250) || '\"}}}}', 'UTF8')
         FROM (SELECT n, {at} AS at FROM generate_series(1, {rows}) n) old;
         INSERT INTO deliveries (id, webhook_id, event_key, event_kind, status, cause, attempts,
             status_code, response_time_ms, triggered_at, payload_size)
         SELECT md5('d' || n)::uuid, md5('w' || n % {WEBHOOKS})::uuid, md5('e' || n)::uuid,
             'scrape.completed', 2, 0, 2, 200, 12, {at}, 350
         FROM generate_series(1, {rows}) n;
         INSERT INTO attempts (delivery_id, number, started_at, response_time_ms, status_code)
         SELECT md5('d' || n)::uuid, 1, {at}, 12, 200 FROM generate_series(1, {rows}) n;
         ANALYZE",
    );
    database.sql(name, &statements)?;
    Ok(())
}

/// What is old, as a condition on `deliveries`.
fn is_old() -> String {
    format!("triggered_at < ((EXTRACT(EPOCH FROM now()) - {KEPT_DAYS} * 86400) * 1000000)::bigint")
}

fn old(database: &Postgres, name: &str) -> anyhow::Result<u64> {
    let count =
        database.sql(name, &format!("SELECT count(*) FROM deliveries WHERE {}", is_old()))?;
    Ok(count.trim().parse()?)
}

/// Asked without counting: counting would be felt.
fn old_left(database: &Postgres, name: &str) -> anyhow::Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM generate_series(0, {WEBHOOKS} - 1) w, LATERAL (SELECT 1 \
         FROM deliveries WHERE webhook_id = md5('w' || w)::uuid AND {} LIMIT 1) found)",
        is_old()
    );
    Ok(database.sql(name, &sql)?.trim() == "t")
}
