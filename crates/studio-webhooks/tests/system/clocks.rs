//! The clock is set while a retry waits: it comes when it was due, by the endpoint's clock.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::on_both;
use crate::support::studio::{Backend, Studio};

/// The wait before the second attempt: longer than what the sweep takes for late.
const STEP: Duration = Duration::from_secs(8);

/// libfaketime, where Debian's package puts it: it fakes a process's clock by a file.
fn library() -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found: Option<PathBuf> = folders
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists());
    found.expect("libfaketime is missing: make test-tools").display().to_string()
}

async fn retry_while_the_clock_is_set(backend: Backend, by: &str) {
    let settings =
        [("STUDIO__DELIVERY__RETRY_DELAYS", "8s,9s"), ("STUDIO__DISPATCHER__SWEEP_EVERY", "1s")];
    let studio = Studio::with(backend, &settings).await;
    let process = backend.worker();
    assert_eq!(studio.terminate(process).await, 0);
    let clock = studio.folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let preloaded = [
        ("LD_PRELOAD", library()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let preloaded: Vec<(&str, &str)> =
        preloaded.iter().map(|(name, value)| (*name, value.as_str())).collect();
    studio.spawn(process, process, &preloaded);
    studio.wait_ready(&studio.dispatcher).await;
    let (endpoint, webhook) = studio.waiting_retry().await;
    std::fs::write(&clock, by).unwrap();
    let requests = tokio::time::timeout(STEP + STEP, endpoint.wait_for(2))
        .await
        .unwrap_or_else(|_| panic!("a clock set by {by} keeps the retry away"));
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= STEP, "a clock set by {by} made a retry early: after {waited:?}");
    std::fs::write(&clock, "+0").unwrap();
    studio.wait_for_log(&webhook, "success").await;
}

async fn a_clock_set_forward_makes_no_retry_early(backend: Backend) {
    retry_while_the_clock_is_set(backend, "+1200").await;
}

async fn a_clock_set_back_keeps_no_retry_away(backend: Backend) {
    retry_while_the_clock_is_set(backend, "-1200").await;
}

on_both!(a_clock_set_forward_makes_no_retry_early, a_clock_set_back_keeps_no_retry_away);
