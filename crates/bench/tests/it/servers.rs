use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench::servers::{Postgres, PostgresOptions, RabbitMq};
use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};

/// Also true of a zombie, which nobody may be there to wait for.
fn gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|state| state.is_empty() || state.starts_with('Z'))
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait_gone(pids: &[u32]) {
    wait_for("a process is still there", || pids.iter().all(|pid| gone(*pid)));
}

async fn publish(url: &str, body: &[u8]) {
    let connection = bench::servers::connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("kept".into(), durable, arguments).await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), "kept".into(), options, body, persistent).await;
    sent.unwrap().await.unwrap();
}

async fn fetch(url: &str) -> Vec<u8> {
    let connection = bench::servers::connect(url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let message = channel.basic_get("kept".into(), BasicGetOptions::default()).await.unwrap();
    message.expect("the message is there").delivery.data
}

#[tokio::test]
async fn a_broker_keeps_its_messages_when_killed_loses_them_when_wiped_and_leaves_nothing() {
    let mut broker = RabbitMq::start("own").unwrap();
    publish(&broker.url(), b"kept").await;
    let arguments = broker.queue_arguments("/").unwrap();
    assert_eq!(arguments["kept"]["x-queue-type"], "quorum");
    broker.wait_until_durable("kept").unwrap();
    let first = broker.pid().unwrap();

    broker.kill9().unwrap();
    assert!(gone(first) && broker.pid().is_none());
    broker.restart().unwrap();
    assert_eq!(fetch(&broker.url()).await, b"kept");

    broker.wipe_and_restart().unwrap();
    assert!(broker.queue_depths("/").unwrap().is_empty());
    let pid = broker.pid().unwrap();
    broker.stop().unwrap();
    wait_gone(&[pid]);
}

#[tokio::test]
async fn tests_that_share_a_broker_do_not_meet() {
    let broker = RabbitMq::shared();
    let (one, other) = (broker.vhost("one").unwrap(), broker.vhost("other").unwrap());
    publish(&one, b"1").await;
    publish(&other, b"2").await;
    assert_eq!(fetch(&one).await, b"1");
    assert_eq!(fetch(&other).await, b"2");
    // Fetched and never acknowledged: it came back when its connection closed.
    wait_for("the depth is told", || broker.queue_depths("one").unwrap()["kept"] == 1);
}

#[test]
fn a_database_keeps_its_rows_when_killed_and_leaves_nothing() {
    let mut server = Postgres::start("own", PostgresOptions::default()).unwrap();
    server.sql("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").unwrap();
    server.kill9().unwrap();
    assert!(server.sql("postgres", "SELECT n FROM t").is_err());
    server.restart().unwrap();
    assert_eq!(server.sql("postgres", "SELECT n FROM t").unwrap().trim(), "7");
    let pids = server.pids();
    assert!(pids.len() > 1);
    server.stop().unwrap();
    wait_gone(&pids);
}

#[test]
fn each_fresh_database_is_empty_and_its_own() {
    let server = Postgres::shared();
    let (one, other) = (server.fresh_database().unwrap(), server.fresh_database().unwrap());
    assert_ne!(one, other);
    let name = one.rsplit('/').next().unwrap();
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(server.sql(name, tables).unwrap().trim(), "0");
}

/// Started again by the test below in a process of its own, which is then killed.
#[test]
#[ignore = "runs only inside the_servers_of_a_killed_process_end_with_it"]
fn hold_servers() {
    let (broker, database) = (RabbitMq::shared(), Postgres::shared());
    database.sigstop().unwrap();
    println!("\npid {}", broker.pid().unwrap());
    for pid in database.pids() {
        println!("pid {pid}");
    }
    println!("ready");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn the_servers_of_a_killed_process_end_with_it() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers::hold_servers", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pids = Vec::new();
    for line in BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if line == "ready" {
            break;
        }
        pids.extend(line.strip_prefix("pid ").map(|pid| pid.parse::<u32>().unwrap()));
    }
    assert!(pids.len() > 2, "the servers ran: {pids:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_gone(&pids);
}
