//! What is held to a time, measured with nothing else beside it: one test after another, and apart
//! from the other tests. Nobody is held up by endpoints that are silent, drip, refuse or fail, nor
//! by a user who publishes a thousand times more (`bench crowd` measures this and worse for as long
//! as one likes); retries are on time while many wait.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::time::Duration;

use bench::crowd::{self, Compared, Plan, Scenario};
use bench::{chaos, waiting};
use tokio::sync::Mutex;

const BINARY: &str = env!("CARGO_BIN_EXE_studio-webhooks");

/// Where a debug build of the bare loop makes fewer deliveries a second, somebody else has the
/// processors: answers then take so long that an endpoint is not to be known for a quick one.
const STARVED: f64 = 4_000.0;

/// Held by the test that measures.
static MEASURING: Mutex<()> = Mutex::const_new(());

/// Measures at the default settings, but for the schedule.
async fn nobody_is_held_up_by(scenario: Scenario) {
    let _alone = MEASURING.lock().await;
    let mut plan = Plan::new(BINARY.into(), chaos::Backend::Embedded, Duration::from_secs(5));
    plan.quick_retries = true;
    let outcome = crowd::run(scenario, &plan).await.unwrap();
    println!("{outcome}");
    let Compared { alone, beside, .. } = outcome.compared.as_ref().unwrap();
    // A debug build on two cores: a tenth of a second is nobody's fault.
    let bound = alone.firsts.p99 * 2.0 + 100.0;
    assert!(beside.firsts.p99 <= bound, "{outcome}");
    assert_eq!((beside.firsts.missing, beside.retries.missing), (0, 0), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_endpoints_are_not_held_up_by_bad_ones() {
    nobody_is_held_up_by(Scenario::Mixed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_endpoints_are_not_held_up_by_a_heavy_user() {
    nobody_is_held_up_by(Scenario::Heavy).await;
}

/// A burst to a quick endpoint is delivered straight: none of it goes into a backlog. The bare loop
/// beside it is a process of `bench` itself.
async fn a_burst_to_a_quick_endpoint_is_put_off_by_nobody(backend: &str) {
    let _alone = MEASURING.lock().await;
    let bench = Path::new(BINARY).with_file_name("bench");
    let arguments = ["crowd", "--only", "burst-quick", "--events", "6000", "--backend", backend];
    let mut command = tokio::process::Command::new(bench);
    let run = command.args(arguments).args(["--binary", BINARY]).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (told, trouble) = (text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{told}{trouble}");
    println!("{told}");
    assert!(told.contains(" 0 of them later than 5 s"), "{told}");
    // The line's last number: the bare loop's rate in the same run.
    let line = told.lines().find(|line| line.contains("the bare loop's")).unwrap();
    let bare = line.split_whitespace().rev().find_map(|word| word.parse::<f64>().ok()).unwrap();
    if bare < STARVED {
        println!("the bare loop is starved itself: whether any was put off says nothing here");
    } else {
        assert!(told.contains(" 0 times deferred"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_to_a_quick_endpoint_is_put_off_by_nobody_in_one_process() {
    a_burst_to_a_quick_endpoint_is_put_off_by_nobody("embedded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_to_a_quick_endpoint_is_put_off_by_nobody_on_servers() {
    a_burst_to_a_quick_endpoint_is_put_off_by_nobody("servers").await;
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
