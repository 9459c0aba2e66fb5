//! The embedded product's files: locked by somebody else, or damaged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};
use crate::support::wait_for;

/// Holds SQLite's write lock until its standard input closes.
const LOCK: &str = "import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
sys.stdin.read()
file.execute('ROLLBACK')";

fn lock(path: &std::path::Path) -> Child {
    let mut command = Command::new("python3");
    command.args(["-c", LOCK]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut locker = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(locker.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "locked");
    locker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_delays_the_log_and_sends_nothing_twice() {
    let studio = Studio::start(Backend::Embedded).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let mut locker = lock(&studio.folder.path().join("store.db"));
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(1).await;
    wait_for("the trouble to be told", || async {
        studio.log("all").contains("no new work is taken").then_some(())
    })
    .await;
    // What comes now waits: its outcome could not be recorded.
    studio.publish(&Published::in_project("usr_1", "p")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(endpoint.count(), 1);
    drop(locker.stdin.take());
    locker.wait().unwrap();
    endpoint.wait_for(2).await;
    wait_for("both logs", || async {
        let logs = studio.logs(&webhook).await;
        (logs.len() == 2 && logs.iter().all(|log| log["status"] == "success")).then_some(())
    })
    .await;
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_stops_the_start_with_one_line_and_is_never_made_anew() {
    for (file, setting) in
        [("store.db", "STUDIO__DATABASE__URL"), ("queues.db", "STUDIO__BROKER__URL")]
    {
        let studio = Studio::start(Backend::Embedded).await;
        assert_eq!(studio.terminate("all").await, 0);
        let path = studio.folder.path().join(file);
        let mut damaged = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        damaged.write_all(&[0x55; 4_096]).unwrap();
        drop(damaged);
        let before = std::fs::read(&path).unwrap();
        let output = studio.command(&["all"]).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(setting)).collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
