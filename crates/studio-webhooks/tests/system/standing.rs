//! Connections that hold on: peers that read nothing, and one address with too many.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::studio::{Backend, Studio};
use crate::support::{on_both, wait_at_most, wait_for};

/// A connection to `base` that has hardly any room for what it is sent.
async fn narrow(base: &str) -> TcpStream {
    let address: std::net::SocketAddr = base.trim_start_matches("http://").parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpStream::from_std(socket.into()).unwrap()
}

/// Connections that the process `name` holds at the port of `base`, as the kernel counts them.
fn held(studio: &Studio, name: &str, base: &str) -> usize {
    let port: u16 = base.rsplit(':').next().unwrap().parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let at_port = format!(":{port:04X}");
    let mut inodes = std::collections::HashSet::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Not the listener itself (0A).
        if fields[1].ends_with(&at_port) && fields[3] != "0A" {
            inodes.insert(format!("socket:[{}]", fields[9]));
        }
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", studio.pid(name))).unwrap();
    let targets = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| inodes.contains(&target.display().to_string())).count()
}

/// Resident memory of the process `name`, KiB.
fn memory(studio: &Studio, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", studio.pid(name))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_read_nothing_are_gone_in_time() {
    let settings = [("STUDIO__API__STALLED_AFTER", "4s")];
    let studio = Studio::with(Backend::Embedded, &settings).await;
    let before = memory(&studio, "all");
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(16);
    let mut silent = Vec::new();
    for _ in 0..300 {
        let mut stream = narrow(&studio.api).await;
        stream.write_all(requests.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    wait_for("300 connections", || async {
        (held(&studio, "all", &studio.api) >= 300).then_some(())
    })
    .await;
    let began = Instant::now();
    wait_at_most(Duration::from_secs(15), "nobody being held", || async {
        (held(&studio, "all", &studio.api) < 5).then_some(())
    })
    .await;
    // One that reads is served all the while.
    studio.call("GET", "/v1/webhooks", &studio.token("usr_1", "user"), None).await;
    let after = memory(&studio, "all");
    println!("gone after {:?}; {before} KiB before, {after} KiB after", began.elapsed());
    assert!(after < before + 60 * 1_024, "{before} KiB before, {after} KiB after");
}

/// Asks again and again and reads nothing, until nothing more can be sent.
async fn stuff(base: &str) -> TcpStream {
    let mut stream = narrow(base).await;
    let requests = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    let sending = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(2), sending).await.ok();
    stream
}

async fn no_listener_waits_for_a_peer_that_reads_nothing(backend: Backend) {
    let settings = [("STUDIO__API__STALLED_AFTER", "3s")];
    let studio = Studio::with(backend, &settings).await;
    let listeners = match backend {
        Backend::Embedded => vec![("all", &studio.api), ("all", &studio.operators)],
        Backend::Servers => vec![
            ("api", &studio.api),
            ("api", &studio.operators),
            ("gateway", &studio.gateway),
            ("dispatcher", &studio.dispatcher),
        ],
    };
    let stuffed = listeners.iter().map(|(_, base)| stuff(base));
    let _stuffed = futures::future::join_all(stuffed).await;
    for (name, base) in listeners {
        wait_at_most(Duration::from_secs(15), &format!("{name} letting go at {base}"), || async {
            (held(&studio, name, base) == 0).then_some(())
        })
        .await;
    }
}

/// What `/waiting` of the process with the API says.
async fn waiting(studio: &Studio) -> Value {
    let client = crate::support::client();
    let answer = client.get(format!("{}/waiting", studio.operators)).send().await.unwrap();
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_stopped_reading_is_not_counted_for_long() {
    let settings = [
        ("STUDIO__API__STALLED_AFTER", "3s"),
        ("STUDIO__GATEWAY__STALLED_AFTER", "1s"),
        ("STUDIO__GATEWAY__PING_EVERY", "1s"),
        ("STUDIO__GATEWAY__SILENT_AFTER", "10m"),
    ];
    let studio = Studio::with(Backend::Embedded, &settings).await;
    let token = studio.token("usr_1", "user");
    let mut stream = narrow(&studio.api).await;
    let upgrade = format!(
        "GET /v1/ws?token={token} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\
         connection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut some = [0; 12];
    stream.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 101");
    // A masked text frame, its mask all zeros.
    let subscribe = br#"{"type":"subscribe","project_id":"*"}"#;
    let mut frame = vec![0x81, 0x80 | subscribe.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(subscribe);
    stream.write_all(&frame).await.unwrap();
    wait_for("the connection being counted", || async {
        (waiting(&studio).await["gateway"]["connections"] == 1).then_some(())
    })
    .await;
    let service = studio.token("svc", "service");
    let data = json!({ "project_id": "p", "filler": "x".repeat(50_000) });
    let began = Instant::now();
    loop {
        let event = json!({ "event": "scrape.completed", "user_id": "usr_1", "data": data });
        let (status, _) = studio.call("POST", "/v1/events", &service, Some(&event)).await;
        assert_eq!(status, 202);
        if waiting(&studio).await["gateway"]["connections"] == 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(25), "it is still counted");
    }
}

/// Whether a fresh connection to `base` is answered 200.
async fn is_answered(base: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.ok();
    let mut some = [0; 15];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut some));
    let answered = read.await.expect("an answer or an end").is_ok();
    (answered && some.starts_with(b"HTTP/1.1 200")).then_some(stream)
}

async fn an_address_has_as_many_connections_as_it_may(backend: Backend) {
    let settings = [
        ("STUDIO__API__CONNECTIONS_PER_ADDRESS", "6"),
        ("STUDIO__GATEWAY__CONNECTIONS_PER_ADDRESS", "3"),
    ];
    let studio = Studio::with(backend, &settings).await;
    for base in [&studio.api, &studio.gateway] {
        // What waiting for it to start has left.
        wait_for("room for six", || async {
            let mut held = Vec::new();
            for _ in 0..6 {
                held.push(is_answered(base).await?);
            }
            for _ in 0..20 {
                assert!(is_answered(base).await.is_none(), "a seventh connection to {base}");
            }
            Some(())
        })
        .await;
        wait_for("room again", || async { is_answered(base).await.map(drop) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_that_are_named_have_as_many_connections_as_they_like() {
    let settings = [
        ("STUDIO__API__CONNECTIONS_PER_ADDRESS", "3"),
        ("STUDIO__API__TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let studio = Studio::with(Backend::Embedded, &settings).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(is_answered(&studio.api).await.expect("no limit for a proxy"));
    }
}

on_both!(
    no_listener_waits_for_a_peer_that_reads_nothing,
    an_address_has_as_many_connections_as_it_may,
);
