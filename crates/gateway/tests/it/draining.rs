//! Stopping: everybody is told when to come back, and leaves in turn.

use std::time::{Duration, Instant};

use futures::future::join_all;
use gateway::GatewayConfig;

use crate::studio::{Client, Next, Studio, request, token};

fn config(seconds: u64) -> GatewayConfig {
    GatewayConfig { drain_for: Duration::from_secs(seconds), ..GatewayConfig::default() }
}

/// Reads to the end: when to come back, and when it was closed.
async fn leave(mut client: Client) -> (u64, Instant) {
    let told = client.json().await;
    assert_eq!(told["type"], "reconnect", "{told}");
    assert_eq!(client.closed().await, Some(1_001));
    (told["after_ms"].as_u64().unwrap(), Instant::now())
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_a_time_of_their_own_and_closed_in_even_slices() {
    let studio = Studio::with(config(2)).await;
    let users: Vec<String> = (0..200).map(|number| format!("user{number}")).collect();
    let clients = join_all(users.iter().map(|user| studio.client(user))).await;
    let leaving: Vec<_> = clients.into_iter().map(|client| tokio::spawn(leave(client))).collect();
    let began = Instant::now();
    studio.stop();
    let left: Vec<(u64, Instant)> =
        join_all(leaving).await.into_iter().map(|result| result.unwrap()).collect();
    let delays: std::collections::HashSet<u64> = left.iter().map(|(delay, _)| *delay).collect();
    assert!(delays.len() > 100 && delays.iter().all(|delay| *delay < 2_000), "{delays:?}");
    let mut quarters = [0; 4];
    for (_, at) in &left {
        let at = at.duration_since(began).as_millis() as usize;
        assert!(at < 4_000, "{at} ms");
        quarters[(at / 500).min(3)] += 1;
    }
    assert!(quarters.iter().all(|count| (20..=90).contains(count)), "{quarters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_refused_with_503_while_it_drains() {
    let studio = Studio::with(config(3)).await;
    let users: Vec<String> = (0..60).map(|number| format!("user{number}")).collect();
    let clients = join_all(users.iter().map(|user| studio.client(user))).await;
    let began = Instant::now();
    studio.stop();
    let mut refused = 0;
    while began.elapsed() < Duration::from_millis(1_200) {
        let url = request(studio.address, &format!("?token={}", token("late")));
        match Client::open(url).await {
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                assert_eq!(answer.status(), 503);
                assert_eq!(answer.headers()["retry-after"], "5");
                refused += 1;
            }
            // The signal and this request may cross.
            Ok((mut client, _)) if refused == 0 => {
                assert!(matches!(client.next().await, Next::Text(_)));
            }
            other => panic!("{:?}", other.map(|_| "connected")),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused > 5, "{refused}");
    drop(clients);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_alone_holds_nobody_up() {
    let studio = Studio::with(config(30)).await;
    let client = studio.client("ann").await;
    let began = Instant::now();
    studio.stop();
    let (after_ms, _) = leave(client).await;
    assert!(after_ms < 1_000 && began.elapsed() < Duration::from_secs(2));
}
