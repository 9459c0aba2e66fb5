//! Clients that misbehave get the documented answer, and nobody else notices: measured, and so one
//! test after another and apart from the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../it/raw.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod raw;
#[path = "../it/studio.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod studio;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway::GatewayConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::raw::{Raw, masked};
use crate::studio::{Client, PATIENCE, Studio, sized_event, token};

/// Held by the test that measures.
static MEASURING: Mutex<()> = Mutex::const_new(());

/// Events published to somebody calm: each has an id of its own, or it would be a copy.
static PUBLISHED: AtomicUsize = AtomicUsize::new(0);

/// How much later than elsewhere anybody else may be told, in a debug build.
const NOTICEABLE: Duration = Duration::from_millis(300);

/// Does `abuse` while somebody else is told fifty events a second, by this gateway and by one
/// that nobody abuses; sees that this one is not noticeably later with any of them. What holds up
/// both, like a slow disk under the broker, is not the abuse's doing.
async fn unnoticed<T>(studio: &Arc<Studio>, abuse: impl Future<Output = T>) -> T {
    let elsewhere = studio.another_gateway().await;
    let mut calm = studio.watching("calm", "*").await;
    let mut witness = elsewhere.watching("calm", "*").await;
    let done = Arc::new(AtomicBool::new(false));
    let (over, publisher) = (done.clone(), studio.clone());
    let watching = tokio::spawn(async move {
        let (mut worst, mut number) = (Duration::ZERO, 0);
        // At least some, however short it is.
        while !over.load(Ordering::Acquire) || number < 20 {
            let id = format!("calm_{}", PUBLISHED.fetch_add(1, Ordering::Relaxed));
            publisher.publish(&id, "calm", "p1").await;
            let (here, there) = tokio::join!(told_of(&mut calm, &id), told_of(&mut witness, &id));
            worst = worst.max(here.saturating_duration_since(there));
            number += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        worst
    });
    let result = abuse.await;
    done.store(true, Ordering::Release);
    let later = watching.await.unwrap();
    assert!(later < NOTICEABLE, "{later:?} later than where nobody misbehaves");
    result
}

/// When the client, who has read everything before, is told of the event `id`.
async fn told_of(client: &mut Client, id: &str) -> Instant {
    assert_eq!(client.event_id().await, id);
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_closed_as_too_slow_and_delays_nobody() {
    let _alone = MEASURING.lock().await;
    const EVENTS: usize = 120;
    let studio = Arc::new(Studio::start().await);
    let mut stuck = Raw::with_small_buffer(studio.address, "ann").await;
    stuck.say(r#"{"type":"subscribe","project_id":"*"}"#).await;
    assert!(stuck.frame().await.is_some());
    let mut beside = studio.watching("ann", "*").await;
    let reading = tokio::spawn(async move {
        for number in 0..EVENTS {
            assert_eq!(beside.event_id().await, format!("evt_{number}"));
        }
    });
    unnoticed(&studio, async {
        // More than the kernel takes for a client that reads nothing.
        for number in 0..EVENTS {
            studio.send(&sized_event(&format!("evt_{number}"), "ann", "p1", 100_000)).await;
        }
        reading.await.unwrap();
    })
    .await;
    assert_eq!(stuck.close_code().await, Some(4_002), "when it reads again it learns why");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_byte_by_byte_does_not_count_as_a_sign_of_life() {
    let _alone = MEASURING.lock().await;
    let config = GatewayConfig {
        ping_every: Duration::from_millis(500),
        silent_after: Duration::from_millis(1_500),
        ..GatewayConfig::default()
    };
    let studio = Arc::new(Studio::with(config).await);
    let mut slow = Raw::upgraded(studio.address, "ann").await;
    let code = unnoticed(&studio, async {
        for byte in masked(0x81, &[b'x'; 100]) {
            if !slow.send(&[byte]).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slow.close_code().await
    })
    .await;
    assert_eq!(code, Some(4_003));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_given_up() {
    let _alone = MEASURING.lock().await;
    let studio = Arc::new(Studio::start().await);
    let mut slow = TcpStream::connect(studio.address).await.unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    for byte in b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let reading = slow.read_to_end(&mut answer);
    let read = tokio::time::timeout(PATIENCE, reading).await.expect("it is closed");
    drop(read);
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_are_refused_by_their_head() {
    let _alone = MEASURING.lock().await;
    let studio = Arc::new(Studio::start().await);
    let mut large = Raw::upgraded(studio.address, "ann").await;
    let code = unnoticed(&studio, async {
        let frame = masked(0x81, &vec![b'x'; 10_000_000]);
        for piece in frame.chunks(64 * 1024) {
            if !large.send(piece).await {
                break;
            }
        }
        large.close_code().await
    })
    .await;
    assert_eq!(code, Some(4_501));
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_any_frame_end_the_connection() {
    let _alone = MEASURING.lock().await;
    let studio = Arc::new(Studio::start().await);
    let (ping, pong) = (masked(0x89, b"ping"), masked(0x8A, b""));
    let empty = masked(0x00, b"");
    let words = masked(0x81, br#"{"type":"ping"}"#);
    for (first, flood) in
        [(vec![], ping), (vec![], pong), (masked(0x01, b""), empty), (vec![], words)]
    {
        let mut client = Raw::upgraded(studio.address, "ann").await;
        let code = unnoticed(&studio, async {
            client.send(&first).await;
            let many = flood.repeat(5_000);
            for piece in many.chunks(16 * 1024) {
                if !client.send(piece).await {
                    break;
                }
            }
            client.close_code().await
        })
        .await;
        assert_eq!(code, Some(4_505), "{:x?}", &flood[..2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_resume_without_a_pause_are_slowed_down_and_delay_nobody() {
    const CLIENTS: usize = 8;
    let _alone = MEASURING.lock().await;
    let studio = Arc::new(Studio::start().await);
    for number in 0..2_000 {
        studio.publish(&format!("evt_{number}"), "ann", "p1").await;
    }
    let resumed = unnoticed(&studio, async {
        let until = Instant::now() + Duration::from_secs(3);
        let abusers = (0..CLIENTS).map(|_| {
            let studio = studio.clone();
            tokio::spawn(async move {
                let mut resumed = 0;
                while Instant::now() < until {
                    // A new connection each time: its allowance of messages is full.
                    let mut client = studio.client("ann").await;
                    let ask = json!({ "type": "subscribe", "project_id": "q", "since": "evt_9" });
                    resumed += usize::from(client.ask(&ask).await["type"] == "subscribed");
                }
                resumed
            })
        });
        let resumed = futures::future::join_all(abusers).await;
        resumed.into_iter().map(Result::unwrap).sum::<usize>()
    })
    .await;
    // 64 at once and ten a second, on however many connections.
    assert!((64..=120).contains(&resumed), "{resumed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_stop_at_the_limits_and_those_within_live_on() {
    let _alone = MEASURING.lock().await;
    let config =
        GatewayConfig { connections: 300, connections_per_user: 100, ..GatewayConfig::default() };
    let studio = Arc::new(Studio::with(config).await);
    let open = async |user: &str| {
        let mut stream = TcpStream::connect(studio.address).await.unwrap();
        let request = format!(
            "GET /v1/ws?token={} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            token(user)
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        (String::from_utf8(answer).unwrap(), stream)
    };
    let kept = unnoticed(&studio, async {
        let (mut kept, mut refused) = (Vec::new(), 0);
        for number in 0..2_000 {
            let (answer, stream) = open(&format!("user{}", number % 50)).await;
            match &*answer {
                "HTTP/1.1 101" => kept.push(stream),
                "HTTP/1.1 503" => refused += 1,
                other => panic!("{other}"),
            }
        }
        // One place is taken by somebody else.
        assert_eq!((kept.len(), refused), (299, 1_701));
        kept
    })
    .await;
    drop(kept);
    let freed = async {
        while open("ann").await.0 != "HTTP/1.1 101" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("their places are free again");
}
