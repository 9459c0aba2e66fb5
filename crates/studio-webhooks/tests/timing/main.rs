//! What is held to a time, measured with nothing else beside it: one test after another, and apart
//! from the other tests. Nobody is held up by endpoints that are silent, drip, refuse or fail, nor
//! by a user who publishes a hundred times more (`bench crowd` measures the same with more
//! webhooks); retries are on time while many wait.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use bench::arrivals::Seen;
use bench::crowd::{self, Crowd};
use bench::{chaos, waiting};
use tokio::sync::Mutex;

const BINARY: &str = env!("CARGO_BIN_EXE_studio-webhooks");

/// Held by the test that measures.
static MEASURING: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn healthy_endpoints_are_held_up_neither_by_bad_ones_nor_by_a_heavy_user() {
    let _alone = MEASURING.lock().await;
    let crowd = Crowd {
        binary: BINARY.into(),
        users: 10,
        rate: 100,
        length: Duration::from_secs(5),
        timeout: Duration::from_secs(4),
        // Few slots: twenty requests a second that hang for four seconds would take all of them.
        settings: vec![
            "STUDIO__DISPATCHER__CONCURRENCY=16".to_owned(),
            "STUDIO__DISPATCHER__PER_USER=8".to_owned(),
        ],
    };
    let waits = crowd::run(crowd).await.unwrap();
    println!("{waits}");
    let p99 = |seen: &Seen| seen.percentile_ms(0.99);
    // A debug build on two cores: a tenth of a second is nobody's fault.
    let bound = p99(&waits.alone) * 2.0 + 100.0;
    let slowest = p99(&waits.among_bad).max(p99(&waits.few)).max(p99(&waits.beside_heavy));
    assert!(slowest <= bound, "{waits}");
}

async fn retries_come_on_time_while_many_wait(backend: chaos::Backend) {
    let _alone = MEASURING.lock().await;
    let plan = waiting::Plan {
        binary: BINARY.into(),
        backend,
        deliveries: 1_000,
        delay: Duration::from_secs(8),
    };
    let waited = waiting::run(plan).await.unwrap();
    println!("{waited}");
    assert_eq!(waited.early, 0, "{waited}");
    // A debug build; `bench waiting` holds the release build to one second.
    assert!(waited.p99 <= Duration::from_secs(2), "{waited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_come_on_time_while_a_thousand_wait_in_one_process() {
    retries_come_on_time_while_many_wait(chaos::Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_come_on_time_while_a_thousand_wait_in_the_brokers_queues() {
    retries_come_on_time_while_many_wait(chaos::Backend::Servers).await;
}
