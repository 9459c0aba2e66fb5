//! Server-Sent Events: the same events, the same index, the same limits.

use gateway::GatewayConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::studio::{PATIENCE, Studio, token, token_for};

/// An open answer.
struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    async fn get(studio: &Studio, query: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(studio.address).await.unwrap();
        let request = format!("GET /v1/events/stream{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        Self { socket, text: String::new() }
    }

    async fn of(studio: &Studio, user: &str, query: &str, headers: &str) -> Self {
        let headers = format!("Authorization: Bearer {}\r\n{headers}", token(user));
        Self::get(studio, query, &headers).await
    }

    /// Reads until `wanted` stands in what came.
    async fn until(&mut self, wanted: &str) -> &str {
        while !self.text.contains(wanted) {
            let mut bytes = [0; 4_096];
            let reading = self.socket.read(&mut bytes);
            let read = tokio::time::timeout(PATIENCE, reading).await;
            let read = read.unwrap_or_else(|_| panic!("{wanted} in time: {}", self.text)).unwrap();
            assert!(read > 0, "{wanted} before the end: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        &self.text
    }
}

/// The status of a stream that is asked for with these headers.
pub(crate) async fn status_of(studio: &Studio, headers: &str) -> u16 {
    let mut stream = Stream::get(studio, "", headers).await;
    stream.until("\r\n").await.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_with_their_ids_and_the_last_one_resumes() {
    let studio = Studio::start().await;
    let mut stream = Stream::of(&studio, "ann", "?project_id=p1", "").await;
    let head = stream.until("event: subscribed").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"));
    let payload = studio.publish("evt_1", "ann", "p1").await;
    studio.publish("evt_x", "bob", "p1").await;
    let payload = String::from_utf8(payload.to_vec()).unwrap();
    stream.until(&format!("id: evt_1\ndata: {payload}\n\n")).await;
    drop(stream);
    // Shows that the gateway has them all: before, `last_event_id` would name an earlier one.
    let mut witness = Stream::of(&studio, "ann", "?project_id=p1", "").await;
    witness.until("event: subscribed").await;
    studio.publish("evt_2", "ann", "p2").await;
    studio.publish("evt_3", "ann", "p1").await;
    witness.until("id: evt_3").await;
    let mut stream = Stream::of(&studio, "ann", "?project_id=p1", "Last-Event-ID: evt_1\r\n").await;
    let text = stream.until("id: evt_3").await;
    assert!(text.contains(r#""recovered":true"#), "{text}");
    assert!(!text.contains("evt_1\n") && !text.contains("evt_2") && !text.contains("evt_x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_narrows_and_resumes_where_headers_cannot_be_set() {
    let studio = Studio::start().await;
    let query = format!("?token={}&events=project.*,scrape.completed", token("ann"));
    let mut stream = Stream::get(&studio, &query, "").await;
    stream.until(r#""project_id":"*""#).await;
    studio.publish("evt_1", "ann", "p1").await;
    stream.until("id: evt_1").await;
    studio.publish("evt_2", "ann", "p1").await;
    stream.until("id: evt_2").await;
    let query = format!("?token={}&last_event_id=evt_1", token("ann"));
    let mut again = Stream::get(&studio, &query, "").await;
    again.until("id: evt_2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_and_the_tokens_are_those_of_the_websocket() {
    let config =
        GatewayConfig { connections_per_user: 1, subscriptions: 2, ..GatewayConfig::default() };
    let studio = Studio::with(config).await;
    let _socket = studio.client("ann").await;
    let mut second = Stream::of(&studio, "ann", "", "").await;
    let answer = second.until("request_id").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("TOO_MANY_CONNECTIONS"));
    let many = "?project_id=p1&project_id=p2&project_id=p3";
    let mut many = Stream::of(&studio, "bob", many, "").await;
    assert!(many.until("request_id").await.contains("TOO_MANY_SUBSCRIPTIONS"));
    for token in ["wrong".to_owned(), token_for("bob", -60)] {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let mut refused = Stream::get(&studio, "", &headers).await;
        assert!(refused.until("UNAUTHORIZED").await.starts_with("HTTP/1.1 401"));
    }
    let mut ends = Stream::get(&studio, &format!("?token={}", token_for("bob", 5)), "").await;
    ends.until("event: token_expiring").await;
    assert!(ends.until("event: close").await.contains(r#""code":4001"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_told_to_come_back_when_the_gateway_stops() {
    let studio = Studio::start().await;
    let mut stream = Stream::of(&studio, "ann", "", "").await;
    stream.until("event: subscribed").await;
    studio.stop();
    stream.until("event: reconnect").await;
    assert!(stream.until("event: close").await.contains(r#""code":1001"#));
}
