//! A killed process, and a disk that is full. The process is this test program, started again
//! with a task in its environment.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bench::servers::{Signal, send_signal};
use broker::{BrokerConfig, Health, PublishError, Queue, Target};

use crate::room::{Room, config, event, id_of, next, nothing, ready};

const TASK: &str = "STUDIO_TEST_TASK";
const URL: &str = "STUDIO_TEST_URL";

/// Starts this test program again for `task` only, through a shell that first does `first`.
fn start(task: &str, config: &BrokerConfig, first: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{first} exec \"$0\" \"$@\"")])
        .arg(program)
        .args(["--exact", "--nocapture", "embedded::faults::the_other_process"])
        .env(TASK, task)
        .env(URL, config.url.expose())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// What the other process prints, as far as it is for us.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = BufReader::new(child.stdout.take().unwrap());
    let line = |line: std::io::Result<String>| {
        let line = line.ok()?;
        let at = line.find("=> ")?;
        Some(line[at + 3..].to_owned())
    };
    output.lines().filter_map(line)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n=> {line}").unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: what the other process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_process() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let config = config(std::env::var(URL).unwrap());
    match task.as_str() {
        "publish" => publish(config).await,
        "fill" => fill(config).await,
        unknown => panic!("no such task: {unknown}"),
    }
}

/// Publishes from four tasks until it is killed; tells of each that was confirmed, and of each
/// that was taken and acknowledged.
async fn publish(config: BrokerConfig) {
    let broker = broker::open(&config).await.unwrap();
    let publishers = (0..4).map(|task| {
        let broker = broker.clone();
        tokio::spawn(async move {
            for number in 0_u64.. {
                let id = format!("evt_{task}_{number}");
                let (target, message) = event(&id);
                broker.publish(target, message).await.unwrap();
                let delayed = Target::Queue(Queue::Retry(Duration::from_secs(1)));
                broker.publish(delayed, event(&id).1).await.unwrap();
                say(&id);
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let mut consumer = broker.consume(Queue::Dispatch, 16);
    while let Some(taken) = consumer.next().await {
        // Every second one is finished.
        if id_of(&taken).ends_with(['0', '2', '4', '6', '8']) {
            taken.acker.ack();
        } else {
            std::mem::forget(taken);
        }
    }
    drop(publishers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_confirmed() {
    let room = Room::embedded();
    let mut confirmed = BTreeSet::new();
    for round in 1..=3 {
        let mut child = start("publish", &room.config, "");
        let mut lines = lines(&mut child);
        // Ids repeat from round to round, as publishers do.
        for _ in 0..100 * round {
            confirmed.insert(lines.next().expect("the other process publishes"));
        }
        send_signal(Signal::Kill, &[child.id()]).unwrap();
        child.wait().unwrap();
        // What it had printed before it died was confirmed as well.
        confirmed.extend(lines);
    }
    // The last line may have been cut.
    let broker = room.open().await;
    let (mut dispatch, mut deliver) =
        (broker.consume(Queue::Dispatch, 1_000), broker.consume(Queue::Deliver, 1_000));
    let mut delayed = BTreeSet::new();
    while !confirmed.is_subset(&delayed) {
        let taken = next(&mut deliver).await;
        delayed.insert(id_of(&taken));
        taken.acker.ack();
    }
    // Those that were not finished are all there.
    let odd = |id: &&String| !id.ends_with(['0', '2', '4', '6', '8']);
    let mut missing: BTreeSet<String> = confirmed.iter().filter(odd).cloned().collect();
    while !missing.is_empty() {
        let taken = next(&mut dispatch).await;
        assert!(taken.redelivered, "it may have been taken before");
        missing.remove(&id_of(&taken));
        taken.acker.ack();
    }
    broker.close().await;
}

/// Publishes until the disk is full, tells so, and waits for room.
async fn fill(config: BrokerConfig) {
    let config = BrokerConfig { publish_timeout: Duration::from_secs(20), ..config };
    let broker = broker::open(&config).await.unwrap();
    let mut consumer = broker.consume(Queue::Dispatch, 10);
    let mut number = 0;
    let error = loop {
        let messages = (number..number + 500).map(|n| event(&format!("evt_{n}"))).collect();
        number += 500;
        if let Err(error) = broker.publish_all(messages).await.swap_remove(0) {
            break error;
        }
    };
    assert!(matches!(error, PublishError::Unavailable(_)), "{error}");
    let Health::Away(reason) = broker.health() else { panic!("health does not tell") };
    assert!(reason.contains("studio.db"), "{reason}");
    // What was taken before can still be worked on; it is written when there is room.
    let first = next(&mut consumer).await;
    assert_eq!(id_of(&first), "evt_0");
    first.acker.ack();
    say("full");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    // Without anybody publishing it finds out that there is room.
    ready(&broker).await;
    let (target, message) = event("evt_after");
    broker.publish(target, message).await.unwrap();
    broker.close().await;
    say("done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_publishes_and_health_until_there_is_room() {
    let room = Room::embedded();
    // A limit of the file's size stands for the disk; ignored, its signal becomes an error.
    let mut child = start("fill", &room.config, "trap '' XFSZ; ulimit -S -f 4000;");
    let mut output = lines(&mut child);
    assert_eq!(output.next().as_deref(), Some("full"));
    let raised = Command::new("prlimit")
        .args(["--pid", &child.id().to_string(), "--fsize=unlimited"])
        .status()
        .unwrap();
    assert!(raised.success());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(output.next().as_deref(), Some("done"));
    assert!(child.wait().unwrap().success());

    let broker = room.open().await;
    let mut consumer = broker.consume(Queue::Dispatch, 100);
    let first = next(&mut consumer).await;
    assert_eq!(id_of(&first), "evt_1", "evt_0 was acknowledged while the disk was full");
    let mut last = first;
    while id_of(&last) != "evt_after" {
        last.acker.ack();
        last = next(&mut consumer).await;
    }
    last.acker.ack();
    nothing(&mut consumer).await;
    broker.close().await;
}
