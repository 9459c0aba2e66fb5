//! How fast outcomes are recorded:
//! `cargo test --release -p store --test it throughput -- --ignored --nocapture`

use std::time::{Duration, Instant};

use bench::servers::{Postgres, PostgresOptions};
use domain::{DeliveryStatus, Webhook};
use store::{DatabaseConfig, Outcome, Store};

use crate::database::keys;
use crate::samples::{attempted, event, webhook};

const EACH: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; for release builds"]
async fn outcomes_a_second_on_sqlite() {
    let folder = tempfile::tempdir_in(bench::servers::target_folder()).unwrap();
    measure(format!("sqlite://{}", folder.path().join("store.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; for release builds"]
async fn outcomes_a_second_on_postgres() {
    let server = Postgres::start("throughput", PostgresOptions::default()).unwrap();
    measure(server.fresh_database().unwrap()).await;
}

async fn measure(url: String) {
    let config = DatabaseConfig { url: url.clone().into(), ..DatabaseConfig::default() };
    let store = Store::open(&config, &keys(&[("k1", 1)])).await.unwrap();
    store.migrate().await.unwrap();
    let hook = webhook(&store, "u").await;
    let kind = url.split(':').next().unwrap_or_default().to_owned();
    let mut made = 0;
    for (writers, size) in [(1, 1), (1, 16), (1, 128), (1, 512), (4, 16), (4, 128)] {
        let start = Instant::now();
        let mut recorded = 0;
        let mut running = tokio::task::JoinSet::new();
        while start.elapsed() < EACH {
            while running.len() < writers {
                let outcomes = batch(&hook, &mut made, size);
                let store = store.clone();
                running.spawn(async move { store.record(&outcomes).await.unwrap() });
            }
            running.join_next().await.unwrap().unwrap();
            recorded += size;
        }
        let rate = recorded as f64 / start.elapsed().as_secs_f64();
        println!("{kind}: {writers} writer(s), batches of {size}: {rate:.0} outcomes/s");
        while running.join_next().await.is_some() {}
    }
}

fn batch(hook: &Webhook, made: &mut usize, size: usize) -> Vec<Outcome> {
    let data = format!(r#"{{"project_id":"p","text":"{}"}}"#, "x".repeat(300));
    let outcomes = (*made..*made + size).map(|_| {
        let id = domain::EventId::generate();
        attempted(hook, &event("u", id.as_str(), &data), 1, DeliveryStatus::Success)
    });
    let outcomes = outcomes.collect();
    *made += size;
    outcomes
}
