//! The short form of `make chaos`: everything is killed or frozen at random under load, and the
//! ledger holds. `STUDIO_CHAOS_SEED` repeats a run's faults.

use std::time::Duration;

use bench::chaos::{self, Plan};

use crate::support::studio::BINARY;

async fn endure(backend: chaos::Backend) {
    let seed = std::env::var("STUDIO_CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let plan = Plan {
        binary: BINARY.into(),
        backend,
        seed: seed.unwrap_or_else(|| rand::random::<u32>().into()),
        length: Duration::from_secs(10),
        longest_freeze: Duration::from_secs(2),
        rate: 50,
        rest_within: Duration::from_secs(60),
    };
    let outcome = chaos::run(plan).await.unwrap();
    println!("{outcome}");
    assert!(outcome.is_clean(), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_whatever_becomes_of_the_one_process() {
    endure(chaos::Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_whatever_becomes_of_services_broker_and_database() {
    endure(chaos::Backend::Servers).await;
}
