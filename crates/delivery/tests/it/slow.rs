//! Endpoints that take their time: one deadline for all of it.

use std::net::SocketAddr;
use std::time::Duration;

use bench::receiver::{Answer, Receiver};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::attempt::{TIMEOUT, attempt, config, failure, request, sender, serving};

const SLACK: Duration = Duration::from_millis(300);

#[tokio::test]
async fn an_endpoint_that_accepts_and_never_answers_fails_at_the_deadline() {
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/", Answer::Never);
    let report = attempt(&sender(), &receiver.url("/")).await;
    assert_eq!(failure(&report), ("timeout", "Connection timeout"));
    assert!(report.duration >= TIMEOUT && report.duration < TIMEOUT + SLACK, "{report:?}");
}

#[tokio::test]
async fn an_endpoint_that_never_accepts_fails_after_the_time_for_connecting() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    // Fills the backlog: what comes after is not answered at all.
    let mut waiting = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    let report = attempt(&sender(), &format!("http://{address}/")).await;
    assert_eq!(failure(&report), ("timeout", "Connection timeout"));
    let longest = config().connect_timeout;
    assert!(report.duration >= longest && report.duration < longest + SLACK, "{report:?}");
}

#[tokio::test]
async fn just_in_time_is_in_time_and_just_too_late_is_too_late() {
    let receiver = Receiver::start().await.unwrap();
    let later = |millis| Answer::Later(Duration::from_millis(millis), Box::new(200.into()));
    receiver.answer("/in-time", later(800));
    receiver.answer("/too-late", later(1_200));
    let sender = sender();
    assert!(attempt(&sender, &receiver.url("/in-time")).await.succeeded());
    let report = attempt(&sender, &receiver.url("/too-late")).await;
    assert_eq!(failure(&report), ("timeout", "Connection timeout"));
}

/// Answers with `bytes`, one each 100 ms, over and over.
async fn dripping(bytes: &'static str) -> String {
    serving(move |mut stream| async move {
        request(&mut stream).await?;
        for byte in bytes.bytes().cycle() {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_header_that_drips_fails_at_the_deadline() {
    let address = dripping("HTTP/1.1 200 OK\r\nx-slow: yes\r\nx-slower: yes\r\n").await;
    let report = attempt(&sender(), &format!("http://{address}/")).await;
    assert_eq!(failure(&report), ("timeout", "Connection timeout"));
    assert!(report.duration < TIMEOUT + SLACK, "{report:?}");
}

#[tokio::test]
async fn a_tls_handshake_that_drips_fails_after_the_time_for_connecting() {
    // The head of a TLS record of 16 KiB, and what may be its content.
    let address = dripping("\u{16}\u{3}\u{3}@\u{0}").await;
    let report = attempt(&sender(), &format!("https://{address}/")).await;
    assert_eq!(failure(&report), ("timeout", "Connection timeout"));
    assert!(report.duration < config().connect_timeout + SLACK, "{report:?}");
}

/// A head at once, then `rest`, one byte each 100 ms.
async fn drips_after(head: &'static str, rest: &'static str) -> String {
    serving(move |mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(head.as_bytes()).await?;
        for byte in rest.bytes().cycle() {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_body_that_drips_changes_nothing_and_is_left_at_the_deadline() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    let chunked = "HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n";
    let (body, sizes) = tokio::join!(drips_after(head, "."), drips_after(chunked, "0"));
    let sender = sender();
    let (body, sizes) = (format!("http://{body}/"), format!("http://{sizes}/"));
    let (body, sizes) = tokio::join!(attempt(&sender, &body), attempt(&sender, &sizes));
    assert_eq!((body.status, body.succeeded()), (Some(200), true));
    assert_eq!((sizes.status, failure(&sizes).0), (Some(500), "status"));
    for report in [body, sizes] {
        assert!(report.duration >= TIMEOUT && report.duration < TIMEOUT + SLACK, "{report:?}");
    }
}
