//! The embedded product's files: locked by somebody else, damaged, full, or gone.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

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

/// Publishes batches through the API until one is refused; how many events were taken.
async fn publish_until_refused(studio: &Studio) -> usize {
    let token = studio.token("svc", "service");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut taken = 0;
    while Instant::now() < deadline {
        let events: Vec<Value> = (0..50)
            .map(|n| {
                let event = Published::in_project("usr_1", &format!("{taken}-{n}"));
                serde_json::from_str(&event.message()).unwrap()
            })
            .collect();
        match studio.call("POST", "/v1/events", &token, Some(&json!({ "events": events }))).await {
            (202, _) => taken += 50,
            (503, _) => return taken,
            other => panic!("neither taken nor refused: {other:?}"),
        }
    }
    panic!("a minute, and the file is not full");
}

/// A limit of a file's size stands for the disk: what cannot be written stops the work, is said,
/// and goes on when there is room, with nothing lost and nothing sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_work_until_there_is_room() {
    let studio = Studio::start(Backend::Embedded).await;
    assert_eq!(studio.terminate("all").await, 0);
    studio.spawn_under("all", "all", "trap '' XFSZ; ulimit -S -f 4000");
    studio.wait_ready(&studio.api).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let taken = publish_until_refused(&studio).await;
    let away = wait_for("the cause being named", || async {
        let (status, answer) = studio.readiness(&studio.api).await;
        (status == 503).then_some(answer)
    })
    .await;
    // SQLite calls a file at its limit an error of the disk, and a disk at its own one full.
    assert!(away.to_string().contains("disk"), "{away}");
    let pid = studio.pid("all").to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    studio.wait_ready(&studio.api).await;
    wait_for("a log of every event that was taken", || async {
        (studio.succeeded(&webhook).await >= taken).then_some(())
    })
    .await;
    // It is in the file, not only in what the process believes of it.
    studio.kill("all");
    studio.spawn("all", "all", &[]);
    studio.wait_ready(&studio.api).await;
    assert!(studio.succeeded(&webhook).await >= taken);
    let ids: BTreeSet<String> = endpoint.requests().iter().map(|r| r.event_id()).collect();
    assert_eq!(ids.len(), endpoint.count(), "some were sent twice");
}

/// What goes on being written to a file that somebody removed would be gone with the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_moved_away_stops_the_work_until_it_is_back() {
    for file in ["store.db", "queues.db"] {
        let studio = Studio::start(Backend::Embedded).await;
        let endpoint = Endpoint::answering([200]).await;
        let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
        studio.publish(&Published::in_project("usr_1", "p")).await;
        studio.wait_for_log(&webhook, "success").await;
        let (here, gone) = (studio.folder.path().join(file), studio.folder.path().join("gone"));
        std::fs::rename(&here, &gone).unwrap();
        let (token, body) = (studio.token("usr_1", "user"), json!({ "name": "another" }));
        let path = format!("/v1/webhooks/{}", webhook.id);
        let changed = studio.call("PUT", &path, &token, Some(&body)).await;
        let event = serde_json::from_str(&Published::in_project("usr_1", "p").message()).unwrap();
        let service = studio.token("svc", "service");
        let published = studio.call("POST", "/v1/events", &service, Some(&event)).await;
        let refused = if file == "store.db" { changed } else { published };
        assert_eq!(refused.0, 503, "{}", refused.1);
        let (status, answer) = studio.readiness(&studio.api).await;
        assert_eq!(status, 503, "{answer}");
        assert!(answer.to_string().contains(file), "{answer}");
        std::fs::rename(&gone, &here).unwrap();
        studio.wait_ready(&studio.api).await;
        let event = Published::in_project("usr_1", "p");
        studio.publish(&event).await;
        wait_for("the delivery", || async {
            endpoint.requests().iter().any(|r| r.event_id() == event.id).then_some(())
        })
        .await;
    }
}

/// The files below `folder` whose mode lets others than their owner in, with it; folders too.
fn open_to_others(folder: &std::path::Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut wide = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let found = std::fs::symlink_metadata(&path).unwrap();
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            wide.push(format!("{} {mode:o}", path.display()));
        }
        if found.is_dir() {
            wide.extend(open_to_others(&path));
        }
    }
    wide
}

/// The files and folders that `words` makes under a umask that takes nothing away.
async fn made_under_umask_0(words: &str, settings: &[(&str, &str)], files: &[&str]) {
    let mut studio = Studio::prepare(Backend::Embedded, settings).await;
    let folder = studio.folder.path().join("made/here");
    let file = |scheme: &str, name: &str| format!("{scheme}://{}", folder.join(name).display());
    let (store, queues) = (file("sqlite", "store.db"), file("embedded", "queues.db"));
    studio.set("STUDIO__DATABASE__URL", &store);
    studio.set("STUDIO__BROKER__URL", &queues);
    studio.spawn_under("made", words, "umask 000");
    studio.wait_ready(&studio.api).await;
    wait_for("the files", || async {
        files.iter().all(|name| studio.folder.path().join(name).exists()).then_some(())
    })
    .await;
    let wide = open_to_others(studio.folder.path());
    let wide: Vec<_> = wide.iter().filter(|line| !line.contains("made.log")).collect();
    assert!(wide.is_empty(), "{wide:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_their_owner_reads_the_files_whatever_the_umask() {
    let files = ["store.db", "store.db-wal", "store.db-shm", "queues.db", "queues.db-wal"];
    let files = files.map(|name| format!("made/here/{name}"));
    made_under_umask_0("all", &[], &files.each_ref().map(String::as_str)).await;
    let files = ["keys.json", "store.db", "queues.db", "queues.db.lock"];
    let files = files.map(|name| format!(".studio-webhooks/{name}"));
    made_under_umask_0("demo", &[], &files.each_ref().map(String::as_str)).await;
}

/// What an earlier release or a copy made readable for others is said, with what to do.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_others_may_read_are_told_at_the_start_and_by_doctor() {
    use std::os::unix::fs::PermissionsExt as _;
    let studio = Studio::start(Backend::Embedded).await;
    assert_eq!(studio.terminate("all").await, 0);
    assert!(!studio.log("all").contains("chmod"), "{}", studio.log("all"));
    for name in ["store.db", "queues.db"] {
        let path = studio.folder.path().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let doctor = || {
        let output = studio.command(&["doctor"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = doctor();
    for name in ["store.db", "queues.db"] {
        let path = studio.folder.path().join(name);
        let command = format!("chmod 600 {}", path.display());
        let line = told.lines().find(|line| line.ends_with(&command));
        let line = line.unwrap_or_else(|| panic!("{name} is not told of: {told}"));
        assert!(line.starts_with("warn"), "{line}");
    }
    studio.spawn("all", "all", &[]);
    studio.wait_ready(&studio.api).await;
    for name in ["store.db", "queues.db"] {
        let log = studio.log("all");
        let line = log.lines().find(|line| line.contains("chmod 600") && line.contains(name));
        assert!(line.is_some_and(|line| line.contains("WARN")), "{name}: {log}");
    }
    assert_eq!(studio.terminate("all").await, 0);
    let chmod = told.lines().filter_map(|line| line.split("chmod 600 ").nth(1));
    for path in chmod.flat_map(str::split_whitespace) {
        let path = path.trim_matches('\'');
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(!doctor().contains("chmod"), "{}", doctor());
}
