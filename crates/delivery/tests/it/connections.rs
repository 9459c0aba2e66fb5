//! Connections that are kept, looked after and used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use delivery::{DeliveryConfig, Sender};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::attempt::{attempt, config, sender, serving};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What became of an endpoint's connections.
#[derive(Clone, Default)]
struct Seen {
    opened: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Seen {
    fn open(&self) -> usize {
        self.opened.load(Ordering::Acquire) - self.closed.load(Ordering::Acquire)
    }

    fn counts(&self) -> (usize, usize) {
        (self.opened.load(Ordering::Acquire), self.requests.load(Ordering::Acquire))
    }

    /// Waits until so many connections are open.
    async fn wait_for_open(&self, expected: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.open() != expected {
            assert!(Instant::now() < deadline, "{} open, {expected} expected", self.open());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// An endpoint that answers each request with `answer` after `delay`, and closes a connection of
/// its own accord after `most` answers.
async fn endpoint(answer: &'static [u8], delay: Duration, most: usize) -> (String, Seen) {
    let seen = Seen::default();
    let counted = seen.clone();
    let address = serving(move |mut stream| {
        let seen = counted.clone();
        seen.opened.fetch_add(1, Ordering::AcqRel);
        async move {
            let mut piece = [0; 4_096];
            for _ in 0..most {
                if stream.read(&mut piece).await.unwrap_or(0) == 0 {
                    break;
                }
                seen.requests.fetch_add(1, Ordering::AcqRel);
                tokio::time::sleep(delay).await;
                stream.write_all(answer).await?;
            }
            drop(stream);
            seen.closed.fetch_add(1, Ordering::AcqRel);
            Ok(())
        }
    });
    (format!("http://{}/", address.await), seen)
}

#[tokio::test]
async fn a_connection_that_the_endpoint_closed_meanwhile_is_not_used() {
    let (url, seen) = endpoint(OK, Duration::ZERO, 1).await;
    let sender = sender();
    for count in 1..=5 {
        assert!(attempt(&sender, &url).await.succeeded());
        seen.wait_for_open(0).await;
        assert_eq!(seen.counts(), (count, count));
    }
}

#[tokio::test]
async fn a_connection_that_the_endpoint_will_close_is_not_kept() {
    let closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let (url, seen) = endpoint(closing, Duration::ZERO, usize::MAX).await;
    assert!(attempt(&sender(), &url).await.succeeded());
    seen.wait_for_open(0).await;
}

#[tokio::test]
async fn what_an_endpoint_says_unasked_is_never_taken_for_an_answer() {
    // Two answers to one request.
    let twice = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let (url, seen) = endpoint(twice, Duration::ZERO, usize::MAX).await;
    let sender = sender();
    for count in 1..=5 {
        let report = attempt(&sender, &url).await;
        assert_eq!((report.status, &report.response[..]), (Some(200), &b"ok"[..]));
        assert_eq!(seen.counts(), (count, count));
    }
}

#[tokio::test]
async fn as_many_idle_connections_are_kept_as_are_allowed() {
    let (url, seen) = endpoint(OK, Duration::from_millis(100), usize::MAX).await;
    let sender = Sender::new(&DeliveryConfig { idle_per_host: 2, ..config() }).unwrap();
    for _ in 0..2 {
        let all = futures::future::join_all((0..5).map(|_| attempt(&sender, &url))).await;
        assert!(all.iter().all(domain::AttemptReport::succeeded), "{all:?}");
        seen.wait_for_open(2).await;
    }
    assert_eq!(seen.counts(), (5 + 3, 10), "two were used again");
}

#[tokio::test]
async fn a_connection_that_rested_too_long_is_closed() {
    let (url, seen) = endpoint(OK, Duration::ZERO, usize::MAX).await;
    let idle_timeout = Duration::from_millis(200);
    let sender = Sender::new(&DeliveryConfig { idle_timeout, ..config() }).unwrap();
    assert!(attempt(&sender, &url).await.succeeded());
    assert_eq!(seen.open(), 1);
    seen.wait_for_open(0).await;
    assert!(attempt(&sender, &url).await.succeeded());
    assert_eq!(seen.counts(), (2, 2));
}

#[tokio::test]
async fn an_attempt_that_is_given_up_takes_its_connection_with_it() {
    let slow = Duration::from_millis(300);
    let (url, seen) = endpoint(OK, slow, usize::MAX).await;
    let sender = sender();
    let cut = tokio::time::timeout(Duration::from_millis(100), attempt(&sender, &url)).await;
    assert!(cut.is_err());
    // The answer to the first request, when it comes, is nobody's.
    assert!(attempt(&sender, &url).await.succeeded());
    assert_eq!(seen.counts(), (2, 2));
    seen.wait_for_open(1).await;
}

#[tokio::test]
async fn the_senders_end_closes_its_connections() {
    let (url, seen) = endpoint(OK, Duration::ZERO, usize::MAX).await;
    let sender = sender();
    assert!(attempt(&sender, &url).await.succeeded());
    drop(sender);
    seen.wait_for_open(0).await;
}
