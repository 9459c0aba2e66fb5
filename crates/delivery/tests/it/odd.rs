//! Endpoints that answer with too much, or with what is no HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench::receiver::{Answer, Receiver};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::attempt::{attempt, failure, request, sender, serving};

/// An endpoint that answers with these bytes and closes.
async fn raw(bytes: impl Into<Vec<u8>>) -> String {
    let bytes: Arc<[u8]> = bytes.into().into();
    let address = serving(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            request(&mut stream).await?;
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
    });
    format!("http://{}/", address.await)
}

#[tokio::test]
async fn a_body_without_end_is_read_to_its_limit_and_its_connection_given_up() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/", Answer::Huge(10 << 30));
    let (sender, began) = (sender(), Instant::now());
    let report = attempt(&sender, &receiver.url("/")).await;
    assert_eq!((report.status, report.succeeded()), (Some(200), true));
    assert_eq!(report.response.len(), domain::MAX_STORED_RESPONSE);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_hundred_endless_bodies_at_once_cost_little_memory() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/", Answer::Huge(10 << 30));
    let (sender, url) = (sender(), receiver.url("/"));
    let memory = || bench::processes::Usage::of(std::process::id()).unwrap().rss_bytes;
    attempt(&sender, &url).await;
    let before = memory();
    futures::future::join_all((0..100).map(|_| attempt(&sender, &url))).await;
    let grown = memory().saturating_sub(before);
    // The receiver lives in this process too: its hundred blocks of 64 KiB, and ours.
    assert!(grown < 40 << 20, "{} MiB", grown >> 20);
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    let bomb = [
        &b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n"[..],
        &[0x1f, 0x8b, 8, 0],
    ]
    .concat();
    let report = attempt(&sender(), &raw(bomb).await).await;
    assert_eq!(&report.response[..], [0x1f, 0x8b, 8, 0]);
}

#[tokio::test]
async fn what_is_no_http_fails_with_a_reason() {
    let headers = |count: usize| {
        let lines: String = (0..count).map(|n| format!("x-{n}: {n}\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
    };
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    let sender = sender();
    for (what, bytes, reason) in [
        ("garbage", b"\x00\xff\x01 no HTTP\r\n\r\n".to_vec(), "The answer was not valid HTTP"),
        ("HTTP/0.9", b"<html>hello</html>".to_vec(), "The answer was not valid HTTP"),
        ("10,000 headers", headers(10_000).into(), "The answer was not valid HTTP"),
        ("a header of 1 MiB", long.into(), "The answer was not valid HTTP"),
        ("nothing", Vec::new(), "Connection closed before an answer"),
        ("half a head", b"HTTP/1.1 200 O".to_vec(), "Connection closed before an answer"),
    ] {
        let report = attempt(&sender, &raw(bytes).await).await;
        assert_eq!(failure(&report), ("network", reason), "{what}");
    }
}

#[tokio::test]
async fn endless_interim_answers_fail_at_the_deadline() {
    let address = serving(|mut stream| async move {
        request(&mut stream).await?;
        loop {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let report = attempt(&sender(), &format!("http://{}/", address.await)).await;
    assert_eq!(failure(&report).0, "timeout", "{report:?}");
}

#[tokio::test]
async fn the_head_decides_when_the_body_breaks_off() {
    let sender = sender();
    let short = raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
    let report = attempt(&sender, &short).await;
    assert_eq!((report.succeeded(), &report.response[..]), (true, &b"short"[..]));
    let address = serving(|mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 503 Oh\r\ncontent-length: 100\r\n\r\n").await?;
        stream.set_zero_linger()
    });
    let report = attempt(&sender, &format!("http://{}/", address.await)).await;
    assert_eq!((report.status, failure(&report).0), (Some(503), "status"));
}

/// Answers every request of a connection with a body of `length` bytes; counts connections.
async fn counting(length: usize) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let address = serving(move |mut stream| {
        counted.fetch_add(1, Ordering::AcqRel);
        async move {
            let mut request = [0; 4_096];
            while stream.read(&mut request).await? > 0 {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&vec![b'.'; length]).await?;
            }
            Ok(())
        }
    });
    (format!("http://{}/", address.await), count)
}

#[tokio::test]
async fn a_connection_is_used_again_unless_its_body_was_too_long() {
    let sender = sender();
    let (short, connections) = counting(1_000).await;
    for _ in 0..10 {
        assert!(attempt(&sender, &short).await.succeeded());
    }
    assert_eq!(connections.load(Ordering::Acquire), 1);
    let (long, connections) = counting(1 << 20).await;
    for _ in 0..5 {
        assert!(attempt(&sender, &long).await.succeeded());
    }
    assert_eq!(connections.load(Ordering::Acquire), 5);
}
