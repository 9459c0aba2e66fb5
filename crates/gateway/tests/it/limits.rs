//! What is refused, each with its own code.

use std::time::Duration;

use gateway::GatewayConfig;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::studio::{Client, Next, Studio, request, token};

async fn refused(studio: &Studio, user: &str) -> (u16, String, String) {
    let url = request(studio.address, &format!("?token={}", token(user)));
    let Err(Error::Http(answer)) = Client::open(url).await.map(drop) else {
        panic!("it was let in");
    };
    let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().into());
    let body: serde_json::Value =
        serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
    (answer.status().as_u16(), code, retry.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_of_a_user_too_many_is_closed_and_the_others_stay() {
    let config = GatewayConfig { connections_per_user: 2, ..GatewayConfig::default() };
    let studio = Studio::with(config).await;
    let (mut first, second) = (studio.client("ann").await, studio.client("ann").await);
    let url = request(studio.address, &format!("?token={}", token("ann")));
    let (mut third, _) = Client::open(url).await.unwrap();
    assert_eq!(third.next().await, Next::Close(Some(4_502)));
    studio.client("bob").await.has_nothing().await;
    first.has_nothing().await;
    drop(second);
    // Its place is free once it is gone.
    let again = async {
        loop {
            let url = request(studio.address, &format!("?token={}", token("ann")));
            let (mut client, _) = Client::open(url).await.unwrap();
            if let Next::Text(_) = client.next().await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_of_the_process_or_of_an_address_too_many_is_refused() {
    let config = GatewayConfig { connections: 1, ..GatewayConfig::default() };
    let studio = Studio::with(config).await;
    let _first = studio.client("ann").await;
    assert_eq!(refused(&studio, "bob").await, (503, "SERVER_FULL".into(), "5".into()));
    let config = GatewayConfig { connections_per_address: 1, ..GatewayConfig::default() };
    let studio = Studio::with(config).await;
    let _first = studio.client("ann").await;
    let (status, code, retry) = refused(&studio, "bob").await;
    assert_eq!((status, &*code), (429, "TOO_MANY_CONNECTIONS_OF_ADDRESS"));
    assert_eq!(retry, "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_too_many_is_an_error_and_those_before_stay() {
    let config = GatewayConfig { subscriptions: 2, ..GatewayConfig::default() };
    let studio = Studio::with(config).await;
    let mut client = studio.watching("ann", "p1").await;
    client.subscribe("p2").await;
    let subscribe = |projects: &[&str]| json!({ "type": "subscribe", "project_ids": projects });
    let answer = client.ask(&subscribe(&["p3"])).await;
    assert_eq!(answer["code"], "TOO_MANY_SUBSCRIPTIONS");
    client.subscribe("p1").await;
    studio.publish("evt_1", "ann", "p3").await;
    studio.publish("evt_2", "ann", "p2").await;
    assert_eq!(client.event_id().await, "evt_2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_large_or_binary_ends_the_connection() {
    let studio = Studio::start().await;
    let large = Message::text(format!(r#"{{"type":"{}"}}"#, "x".repeat(4_100)));
    for message in [large, Message::binary(vec![1, 2])] {
        let mut client = studio.client("ann").await;
        futures::SinkExt::send(&mut client.socket, message).await.unwrap();
        assert_eq!(client.closed().await, Some(4_501));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_messages_are_warned_of_three_times_and_then_end_the_connection() {
    let studio = Studio::start().await;
    let mut client = studio.client("ann").await;
    let mut warned = 0;
    for _ in 0..60 {
        if futures::SinkExt::send(&mut client.socket, Message::text(r#"{"type":"ping"}"#))
            .await
            .is_err()
        {
            break;
        }
    }
    loop {
        match client.next().await {
            Next::Text(text) if text.contains("RATE_LIMITED") => warned += 1,
            Next::Text(_) | Next::Ping => {}
            Next::Close(code) => {
                assert_eq!((code, warned), (Some(4_505), 3));
                return;
            }
            Next::Gone => panic!("cut off"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_silent_is_pinged_and_then_closed() {
    let config = GatewayConfig {
        ping_every: Duration::from_millis(300),
        silent_after: Duration::from_millis(900),
        ..GatewayConfig::default()
    };
    let studio = Studio::with(config).await;
    let mut lively = studio.client("ann").await;
    let mut silent = crate::raw::Raw::upgraded(studio.address, "ann").await;
    // Reading answers pings, as every client does by itself.
    let reading = tokio::spawn(async move {
        for _ in 0..6 {
            assert_eq!(lively.next().await, Next::Ping);
        }
    });
    assert_eq!(silent.close_code().await, Some(4_003));
    assert!(silent.pings > 0);
    reading.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_resumes_without_a_pause_is_refused_on_whatever_connection() {
    let studio = Studio::start().await;
    studio.publish("evt_1", "ann", "p1").await;
    let resume = json!({ "type": "subscribe", "project_id": "*", "since": "evt_1" });
    // Each connection begins with a burst of forty messages; all of them resume as one user.
    let mut codes = Vec::new();
    for _ in 0..30 {
        let mut client = studio.client("ann").await;
        for _ in 0..8 {
            let answer = client.ask(&resume).await;
            codes.push(answer["code"].as_str().map(str::to_owned));
        }
    }
    let heard = codes.iter().filter(|code| code.is_none()).count();
    assert!(codes.iter().flatten().all(|code| code == "RATE_LIMITED"), "{codes:?}");
    assert!((64..=200).contains(&heard), "{heard} of {} were answered", codes.len());
    // A stream is a resume as well.
    let (status, code) = streamed(&studio, "ann", "evt_1").await;
    assert_eq!((status, &*code), (429, "RATE_LIMITED"));
    // Others, and what is no resume, go on.
    assert_eq!(streamed(&studio, "bob", "evt_1").await.0, 200);
    studio.watching("ann", "*").await.has_nothing().await;
}

/// The answer to a stream that resumes: the status, and the code of a refusal.
async fn streamed(studio: &Studio, user: &str, since: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(studio.address).await.unwrap();
    let request = format!(
        "GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\nLast-Event-ID: {since}\r\n\r\n",
        token(user)
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A stream has no end; a refusal has one.
    let is_told = |answer: &[u8]| answer.starts_with(b"HTTP/1.1 200") || answer.ends_with(b"}}");
    while !is_told(&answer) {
        let mut piece = [0; 1_024];
        let reading = socket.read(&mut piece);
        match tokio::time::timeout(crate::studio::PATIENCE, reading).await.unwrap().unwrap() {
            0 => break,
            size => answer.extend_from_slice(&piece[..size]),
        }
    }
    let text = String::from_utf8(answer).unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let code = text.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next());
    (status, code.unwrap_or_default().to_owned())
}
