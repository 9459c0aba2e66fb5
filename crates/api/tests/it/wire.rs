//! Requests that no proper client sends, over a bare socket.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::studio::{Studio, token};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(45);

struct Wire(TcpStream);

impl Wire {
    async fn open(studio: &Studio) -> Self {
        Self(TcpStream::connect(studio.address).await.unwrap())
    }

    /// Sends as much of `bytes` as the other side takes.
    async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// All that is answered until the other side closes.
    async fn until_closed(&mut self) -> String {
        let mut all = Vec::new();
        let reading = async {
            let mut some = [0; 4_096];
            while let Ok(count @ 1..) = self.0.read(&mut some).await {
                all.extend_from_slice(&some[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("it is closed");
        String::from_utf8_lossy(&all).into_owned()
    }
}

fn head(extra: &str) -> String {
    let token = token("usr_1", &["user"]);
    format!(
        "POST /v1/webhooks HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{extra}\r\n"
    )
}

fn body() -> String {
    json!({ "name": "n", "url": "https://example.com/", "events": ["*"] }).to_string()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("nothing")
}

/// Sends `request` and gives back all answers; none may be a webhook that was made.
async fn answers(studio: &Studio, request: &str) -> String {
    let mut wire = Wire::open(studio).await;
    wire.send(request).await;
    let answers = wire.until_closed().await;
    let listed = studio.user("usr_1").get("/v1/webhooks").await.expect(200);
    assert_eq!(listed.data(), json!([]), "{request:.200} made one: {answers}");
    answers
}

#[tokio::test]
async fn a_length_that_is_said_twice_is_refused_and_the_connection_closed() {
    let studio = Studio::start().await;
    let (text, length) = (body(), body().len());
    let chunked = format!("{length:x}\r\n{text}\r\n0\r\n\r\n");
    for request in [
        head(&format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n")) + &chunked,
        head(&format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n")) + &text,
        head(&format!("content-length: {length}\r\ncontent-length: {length}\r\n")) + &text,
        head(&format!("content-length: {length}\r\ncontent-length: 3\r\n")) + &text,
        head(&format!("content-length: {length}, {length}\r\n")) + &text,
        head(&format!("content-length: +{length}\r\n")) + &text,
        head("content-length: -1\r\n") + &text,
        head("transfer-encoding: xchunked\r\n") + &chunked,
        head("transfer-encoding: chunked, identity\r\n") + &chunked,
        head("transfer-encoding: identity, chunked\r\n") + &chunked,
        head("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n") + &chunked,
        head("host: b\r\n") + &text,
        head("transfer-encoding : chunked\r\n") + &chunked,
        head("transfer-encoding: chunked\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1) + &chunked,
    ] {
        let answer = answers(&studio, &request).await;
        assert_eq!(status(&answer), "400", "{request}\n{answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "one answer: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_no_head_is_refused_and_the_connection_closed() {
    let studio = Studio::start().await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    // Whether it is we who answer; else actix-web, without a body.
    for (request, expected, ours) in [
        (head(&many), "431", false),
        (head(&format!("x-large: {}\r\n", "x".repeat(64 * 1024))), "431", true),
        (head(&format!("x-large: {}\r\n", "x".repeat(200 * 1024))), "431", false),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(60_000)), "431", true),
        (head("no colon\r\n"), "400", false),
        (head("x: a\0b\r\n"), "400", false),
        (head(" folded: 1\r\n"), "400", false),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), "400", false),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned(), "400", false),
        ("nonsense\r\n\r\n".to_owned(), "400", false),
    ] {
        let answer = answers(&studio, &request).await;
        assert_eq!(status(&answer), expected, "{request:.300}\n{answer}");
        let code = answer.contains(r#""code":"HEADERS_TOO_LARGE""#);
        assert_eq!(code, ours, "{answer}");
    }
}

#[tokio::test]
async fn lines_of_a_head_may_end_as_rfc_9112_allows() {
    let studio = Studio::start().await;
    let plain = "GET /healthz HTTP/1.1\nhost: a\nconnection: close\n\n";
    assert_eq!(status(&answers(&studio, plain).await), "200");
}

#[tokio::test]
async fn a_head_of_a_byte_a_second_is_cut_after_ten_seconds() {
    let studio = Studio::start().await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(Wire::open(&studio).await);
    }
    let began = Instant::now();
    let request = head("");
    let dripping = async {
        let mut bytes = request.bytes();
        loop {
            let byte = bytes.next().unwrap();
            let mut alive = 0;
            for wire in &mut slow {
                let mut some = [0; 64];
                // Whatever is read is the end, or the answer before it.
                let closed = wire.0.try_read(&mut some).is_ok();
                alive += usize::from(!closed && wire.send([byte]).await);
            }
            if alive == 0 {
                return began.elapsed();
            }
            // Others are served meanwhile.
            studio.user("usr_1").get("/v1/webhooks").await.expect(200);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let cut = tokio::time::timeout(PATIENCE, dripping).await.expect("it is cut");
    assert!((9..=12).contains(&cut.as_secs()), "{cut:?}");
    let mut wire = Wire::open(&studio).await;
    wire.send("GET /v1/web").await;
    assert_eq!(status(&wire.until_closed().await), "408");
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_at_the_limit_whatever_the_path() {
    let studio = Studio::start().await;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for (request, expected) in [
        (head("transfer-encoding: chunked\r\n"), "413"),
        (head("content-length: 1000000000\r\n"), "413"),
        (head("transfer-encoding: chunked\r\n").replacen("POST", "GET", 1), "200"),
        (head("transfer-encoding: chunked\r\n").replacen("Bearer", "Nobody", 1), "401"),
        (head("transfer-encoding: chunked\r\n").replacen("/v1/webhooks", "/nothing", 1), "404"),
    ] {
        let mut wire = Wire::open(&studio).await;
        wire.send(&request).await;
        let began = Instant::now();
        let sending = async { while wire.send(&chunk).await {} };
        tokio::time::timeout(PATIENCE, sending).await.unwrap_or_else(|e| panic!("{request}: {e}"));
        // The answer comes at once; whoever goes on sending is listened to for a second.
        assert!(began.elapsed() < Duration::from_secs(10), "{request}: {:?}", began.elapsed());
        let mut wire = Wire::open(&studio).await;
        wire.send(request + &chunk.repeat(20)).await;
        assert_eq!(status(&wire.until_closed().await), expected);
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for_without_end() {
    let studio = Studio::start().await;
    let began = Instant::now();
    let mut wire = Wire::open(&studio).await;
    wire.send(head("content-length: 100\r\n") + "{").await;
    let answer = wire.until_closed().await;
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(answer.contains(r#""code":"REQUEST_TIMEOUT""#), "{answer}");
    assert!((9..=12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_of_a_byte_a_second_is_cut_after_ten_seconds_wanted_or_not() {
    let studio = Studio::start().await;
    let wanted = head("content-length: 1000\r\n");
    let requests = [
        wanted.clone(),
        wanted.replacen("/v1/webhooks", "/nothing", 1),
        wanted.replacen("POST", "GET", 1),
        wanted.replacen("Bearer", "Nobody", 1),
        head("transfer-encoding: chunked\r\n") + "3e8\r\n",
    ];
    let mut slow = Vec::new();
    for request in &requests {
        let mut wire = Wire::open(&studio).await;
        wire.send(request).await;
        slow.push(Some(wire));
    }
    let began = Instant::now();
    let dripping = async {
        while slow.iter().any(Option::is_some) {
            for place in &mut slow {
                let Some(wire) = place else { continue };
                let mut some = [0; 4_096];
                let ended = loop {
                    match wire.0.try_read(&mut some) {
                        Ok(0) => break true,
                        Ok(_) => {}
                        Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
                    }
                };
                if ended || !wire.send("x").await {
                    *place = None;
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let cut = tokio::time::timeout(Duration::from_secs(20), dripping).await;
    let left: Vec<bool> = slow.iter().map(Option::is_some).collect();
    assert!(cut.is_ok(), "after 20 s there are still {left:?} of {requests:?}");
    assert!(began.elapsed() <= Duration::from_secs(14), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_large_body_has_the_time_that_it_takes() {
    let studio = Studio::start().await;
    let event = json!({ "event": "scrape.started", "user_id": "usr_1", "data": { "a": "x".repeat(60_000) } });
    let body = json!({ "events": vec![event; 20] }).to_string();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        token("studio-scraper", &["service"]),
        body.len()
    );
    let mut wire = Wire::open(&studio).await;
    wire.send(head).await;
    // 1.2 MB in 14 s.
    for piece in body.as_bytes().chunks(body.len() / 14 + 1) {
        assert!(wire.send(piece).await, "cut");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(status(&wire.until_closed().await), "202");
}

#[tokio::test]
async fn a_compressed_body_is_refused_unread() {
    let studio = Studio::start().await;
    for coding in ["gzip", "br", "deflate", "identity, gzip"] {
        let bomb = head(&format!(
            "content-encoding: {coding}\r\ncontent-length: 1000\r\nconnection: close\r\n"
        ));
        let answer = answers(&studio, &(bomb + &"\u{1f}".repeat(1_000))).await;
        assert_eq!(status(&answer), "415", "{answer}");
        assert!(answer.contains("UNSUPPORTED_MEDIA_TYPE"), "{answer}");
    }
}

#[tokio::test]
async fn json_is_as_deep_as_it_may_be_and_no_deeper() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let nested = |depth: usize| {
        format!(r#"{{"metadata":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
    };
    let post =
        async |body: String| user.send(reqwest::Method::POST, "/v1/webhooks", Some(body)).await;
    assert_eq!(post(nested(127)).await.expect(422).code(), "VALIDATION_ERROR");
    for depth in [128, 129, 200, 20_000] {
        assert_eq!(post(nested(depth)).await.expect(400).code(), "MALFORMED_JSON", "{depth}");
    }
}
