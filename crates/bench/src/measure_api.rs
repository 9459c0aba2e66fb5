//! `bench api`: reading through the API, beside the bare limit and over large tables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::load::USER;
use bench::product::{Product, Running, token};
use bench::report::Report;
use bench::requests::{Connection, get, saturate, trickle};
use bench::servers::{Postgres, PostgresOptions, free_ports, target_folder};
use serde_json::Value;

/// Connections of a saturated measurement.
const CONNECTIONS: usize = 16;

/// How long one measurement lasts.
const LENGTH: Duration = Duration::from_secs(5);

/// Requests a second of reads over large tables, and how long each kind is read.
const RATE: u32 = 50;
const READING: Duration = Duration::from_secs(10);

/// Webhooks of the user who is measured.
const WEBHOOKS: usize = 100;

/// Measures both, `runs` times.
pub(crate) async fn run(
    runs: usize,
    rows: u32,
    binary: PathBuf,
    settings: Vec<String>,
) -> anyhow::Result<()> {
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    let mut report = Report::default();
    for number in 1..=runs.max(1) {
        println!("run {number} of {runs}: authentication and routing alone");
        beside_bare(&binary, &settings, &mut report).await?;
    }
    if rows > 0 {
        println!("reads of a user with {WEBHOOKS} webhooks and {rows} log rows");
        over_large_tables(&binary, &settings, rows, &mut report).await?;
    }
    let median = |name| report.median(name).unwrap_or(f64::NAN);
    let share = median("list of one webhook, requests/s") / median("bare handler, requests/s");
    println!("\nlist of one webhook, requests/s of the bare handler's: {share:.2}\n");
    println!("{}", report.table());
    Ok(())
}

/// `GET /v1/webhooks` with one row on SQLite, and a handler that answers the same from memory.
async fn beside_bare(
    binary: &Path,
    settings: &[String],
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = target_folder().join(format!("bench/api-{}", std::process::id()));
    let database = format!("sqlite://{}", folder.join("store.db").display());
    let broker = format!("embedded://{}", folder.join("queues.db").display());
    let mut product = Product::new(binary.to_path_buf(), folder.clone(), &database, &broker)?;
    product.set(settings);
    let _all = product.start("all")?;
    product.wait_ready().await?;
    product.webhook("https://example.com/hook").await?;
    let request = get("/v1/webhooks", &token("user"));
    let api = address(&product)?;
    let body = Connection::open(api).await?.exchange(&request).await?.to_vec();
    let listed: Value = serde_json::from_slice(&body)?;
    anyhow::ensure!(listed["data"].as_array().is_some_and(|rows| rows.len() == 1), "one row");
    let [port] = free_ports()?;
    let bare: SocketAddr = ([127, 0, 0, 1], port).into();
    let file = folder.join("body.json");
    std::fs::write(&file, &body)?;
    let (bind, file) = (bare.to_string(), file.display().to_string());
    let _bare = Running::of_this_program(&["bare-handler", "--bind", &bind, "--body", &file])?;
    wait_for(bare).await?;
    for (address, name) in [(bare, "bare handler"), (api, "list of one webhook")] {
        // Once to warm up.
        saturate(address, &request, CONNECTIONS, Duration::from_secs(1)).await?;
        let rate = saturate(address, &request, CONNECTIONS, LENGTH).await?;
        report.add(&format!("{name}, requests/s"), rate);
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Reads at a steady rate while the tables are large.
async fn over_large_tables(
    binary: &Path,
    settings: &[String],
    rows: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    let server =
        tokio::task::spawn_blocking(|| Postgres::start("bench-api", PostgresOptions::default()))
            .await??;
    let folder = target_folder().join(format!("bench/api-large-{}", std::process::id()));
    let broker = format!("embedded://{}", folder.join("queues.db").display());
    let mut product =
        Product::new(binary.to_path_buf(), folder.clone(), &server.url("postgres"), &broker)?;
    product.set(settings);
    product.run("migrate")?;
    let _api = product.start("api")?;
    product.wait_ready().await?;
    for number in 0..WEBHOOKS {
        product.webhook_at(&format!("https://example.com/{number}")).await?;
    }
    let began = Instant::now();
    let server =
        tokio::task::spawn_blocking(move || fill(&server, rows).map(|()| server)).await??;
    println!("  filled in {:.0} s", began.elapsed().as_secs_f64());
    let api = address(&product)?;
    for (name, path) in paths(api).await? {
        let requests = [get(&path, &token("user"))];
        trickle(api, &requests, RATE, Duration::from_secs(1)).await?;
        let (p50, p99) = trickle(api, &requests, RATE, READING).await?;
        report.add(&format!("{name}, p50 ms"), p50);
        report.add(&format!("{name}, p99 ms"), p99);
    }
    drop(server);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Every kind of read, of the webhook with most rows.
async fn paths(api: SocketAddr) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut connection = Connection::open(api).await?;
    let mut read = async |path: &str| -> anyhow::Result<Value> {
        let body = connection.exchange(&get(path, &token("user"))).await?;
        Ok(serde_json::from_slice(body)?)
    };
    // Newest first: the last one was made first, and has most of the rows.
    let webhooks = read("/v1/webhooks?limit=100").await?;
    let first = webhooks["data"].as_array().and_then(|all| all.last()).map(|one| &one["id"]);
    let id = first.and_then(Value::as_str).unwrap_or_default().to_owned();
    let logs = format!("/v1/webhooks/{id}/logs");
    let page = read(&logs).await?;
    let log = page["data"][0]["id"].as_str().unwrap_or_default().to_owned();
    let event = page["data"][0]["event_id"].as_str().unwrap_or_default().to_owned();
    anyhow::ensure!(!log.is_empty(), "the webhook has logs: {page}");
    Ok(vec![
        ("webhooks, 20 of 100", "/v1/webhooks".to_owned()),
        ("webhooks, 100 of 100", "/v1/webhooks?limit=100".to_owned()),
        ("webhooks, a search", "/v1/webhooks?search=example.com%2F77".to_owned()),
        ("one webhook", format!("/v1/webhooks/{id}")),
        ("logs, page 1", logs.clone()),
        ("logs, page 1,000", format!("{logs}?page=1000")),
        ("logs, page 1 of 100 rows", format!("{logs}?limit=100")),
        ("logs, page 1,000 of 100 rows", format!("{logs}?page=1000&limit=100")),
        ("logs, failed ones, page 1", format!("{logs}?status=failed")),
        ("logs, failed ones, page 100", format!("{logs}?status=failed&page=100")),
        ("one log", format!("{logs}/{log}")),
        ("one event", format!("/v1/events/{event}")),
    ])
}

fn address(product: &Product) -> anyhow::Result<SocketAddr> {
    Ok(product.api.trim_start_matches("http://").parse()?)
}

async fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    let began = Instant::now();
    while Connection::open(address).await.is_err() {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(10), "{address} does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Rows by SQL: 10,000 other users with a webhook and a delivery each, and `rows` deliveries of
/// the user who is measured, six of ten at their first webhook, one of twenty failed.
fn fill(server: &Postgres, rows: u32) -> anyhow::Result<()> {
    let sql = |text: String| server.sql("postgres", &text);
    let day = 86_400_000_000_i64;
    sql("INSERT INTO webhooks (id, user_id, name, url, events, project_ids, headers, secret, active, metadata, created_at, updated_at) \
         SELECT gen_random_uuid(), 'usr_other_' || n, name, url, events, project_ids, headers, secret, active, metadata, created_at, updated_at \
         FROM (SELECT * FROM webhooks LIMIT 1) AS one, generate_series(1, 10000) AS n"
        .into())?;
    let now = "(EXTRACT(EPOCH FROM now()) * 1000000)::bigint";
    let id = "'evt_' || lpad(n::text, 12, '0')";
    // As the product derives it: eight characters of the id, and half of a hash over the user and
    // the id, each after its length.
    let key = format!(
        "encode(substr(({id})::bytea, 5, 8) || substr(sha256(int4send({}) || '{USER}'::bytea \
         || int4send(length({id})) || ({id})::bytea), 9, 8), 'hex')::uuid",
        USER.len()
    );
    // A delivery's key, event and webhook by its number, so that three tables agree.
    sql(format!(
        "CREATE TABLE numbered AS \
         WITH own AS (SELECT array_agg(id ORDER BY id) AS ids FROM webhooks WHERE user_id NOT LIKE 'usr_other_%'), \
              others AS (SELECT array_agg(id) AS ids FROM webhooks WHERE user_id LIKE 'usr_other_%') \
         SELECT n, {id} AS id, gen_random_uuid() AS delivery, {key} AS event, \
                CASE WHEN n > {rows} THEN others.ids[n - {rows}] \
                     WHEN n % 10 < 6 THEN own.ids[1] ELSE own.ids[2 + (n / 10) % 99] END AS webhook, \
                (CASE WHEN n % 20 = 0 THEN 3 ELSE 2 END)::smallint AS status, \
                {now} - (7 * {day}::bigint / ({rows} + 10000)) * n AS at \
         FROM own, others, generate_series(1, {rows} + 10000) AS n"
    ))?;
    sql(format!(
        "INSERT INTO events (key, user_id, event_id, kind, created_at, payload) \
         SELECT event, '{USER}', id, 'scrape.completed', at, \
                convert_to('{{\"id\":\"' || id || '\",\"event\":\"scrape.completed\",\"timestamp\":\"2026-02-02T12:00:00Z\",\"data\":{{\"project_id\":\"proj_1\",\"text\":\"' || repeat('x', 250) || '\"}}}}', 'UTF8') \
         FROM numbered"
    ))?;
    sql("INSERT INTO deliveries (id, webhook_id, event_key, event_kind, status, cause, attempts, status_code, error, response_time_ms, triggered_at, next_attempt_at, payload_size, response_body, address) \
         SELECT delivery, webhook, event, 'scrape.completed', status, 0, CASE status WHEN 3 THEN 5 ELSE 1 END, \
                CASE status WHEN 3 THEN 500 ELSE 200 END, CASE status WHEN 3 THEN 'Internal Server Error' END, 12, at, NULL, 350, CASE status WHEN 2 THEN 'OK' END, CASE status WHEN 2 THEN '192.0.2.1:443' END \
         FROM numbered"
        .into())?;
    sql("INSERT INTO attempts (delivery_id, number, started_at, response_time_ms, status_code, response_body, address) \
         SELECT delivery, number, at, 12, 500, 'no', '192.0.2.1:443' \
         FROM numbered, generate_series(1, 5) AS number WHERE status = 3"
        .into())?;
    sql("INSERT INTO webhook_days (webhook_id, day, succeeded, failed, last_triggered_at) \
         SELECT webhook, (at / 86400000000)::integer, COUNT(*) FILTER (WHERE status = 2), COUNT(*) FILTER (WHERE status = 3), MAX(at) \
         FROM numbered GROUP BY webhook, at / 86400000000; \
         DROP TABLE numbered"
        .into())?;
    sql("VACUUM ANALYZE".into())?;
    Ok(())
}
