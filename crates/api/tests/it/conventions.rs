//! What every answer has in common.

use std::time::Duration;

use actix_web::{App, test, web};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::receiver::Receiver;
use crate::studio::Studio;

#[tokio::test]
async fn what_is_unknown_is_answered_in_the_envelope() {
    let studio = Studio::start().await;
    for path in ["/", "/v1", "/v1/nothing", "/v2/webhooks", "/v1/webhooks/", "/%2e%2e/etc"] {
        let answer = studio.stranger().get(path).await.expect(404);
        assert_eq!(answer.code(), "NOT_FOUND", "{path}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let studio = Studio::start().await;
    let id = format!("/v1/webhooks/wh_{}", "0".repeat(32));
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/webhooks", "GET, HEAD, POST"),
        (Method::POST, id.as_str(), "GET, HEAD, PUT, PATCH, DELETE"),
        (Method::GET, "/v1/events", "POST"),
        (Method::PUT, "/v1/webhooks/events", "GET, HEAD"),
        (Method::OPTIONS, "/v1/webhooks", "GET, HEAD, POST"),
        (Method::POST, "/healthz", "GET, HEAD"),
    ] {
        let answer = studio.user("usr_1").send(method.clone(), path, None).await.expect(405);
        assert_eq!(answer.code(), "METHOD_NOT_ALLOWED", "{method} {path}");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_head_request_is_a_get_without_a_body() {
    let studio = Studio::start().await;
    let answer = studio.user("usr_1").send(Method::HEAD, "/v1/webhooks", None).await.expect(200);
    assert_eq!(answer.text, "");
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn bodies_must_be_json_by_name() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let good = json!({ "name": "n", "url": "https://example.com/", "events": ["*"] }).to_string();
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let headers = [("content-type", wrong)];
        let body = Some(good.clone());
        let answer = user.send_with(Method::POST, "/v1/webhooks", body, &headers).await.expect(415);
        assert_eq!(answer.code(), "UNSUPPORTED_MEDIA_TYPE", "{wrong}");
    }
    let gzip = [("content-encoding", "gzip")];
    user.send_with(Method::POST, "/v1/webhooks", Some(good.clone()), &gzip).await.expect(415);
    let right = [("content-type", "Application/JSON; charset=utf-8")];
    user.send_with(Method::POST, "/v1/webhooks", Some(good), &right).await.expect(201);
}

#[tokio::test]
async fn what_is_no_json_is_malformed() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for wrong in [
        "",
        "{",
        "{} {}",
        "\u{feff}{}",
        r#"{"name":"a","name":"b"}"#,
        r#"{"headers":{"a":"1","a":"2"}}"#,
        r#"{"name":1e400}"#,
        r#"{"name":"\ud800"}"#,
        "{'name':1}",
        "nonsense",
        deep.as_str(),
    ] {
        let body = Some(wrong.to_owned());
        let answer = user.send(Method::POST, "/v1/webhooks", body).await.expect(400);
        assert_eq!(answer.code(), "MALFORMED_JSON", "{wrong}");
    }
    for other in ["[]", "null", "7", r#""text""#] {
        let answer = user.send(Method::POST, "/v1/webhooks", Some(other.to_owned())).await;
        assert_eq!(answer.expect(422).fields(), ["body"], "{other}");
    }
}

#[tokio::test]
async fn a_large_body_is_refused_by_its_length_and_by_its_bytes() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(64 * 1024));
    let answer = user.send(Method::POST, "/v1/webhooks", Some(body)).await.expect(413);
    assert_eq!(answer.code(), "PAYLOAD_TOO_LARGE");
    // Chunked, so that no length gives it away, and without an end.
    let mut stream = tokio::net::TcpStream::connect(studio.address).await.unwrap();
    let head = format!(
        "POST /v1/webhooks HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        crate::studio::token("usr_1", &["user"])
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..17 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_request_keeps_the_id_that_its_caller_gave() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let asked = async |id: &'static str| {
        user.send_with(Method::GET, "/v1/webhooks", None, &[("x-request-id", id)]).await
    };
    let answer = asked("my-request.1").await;
    assert_eq!(answer.header("x-request-id"), "my-request.1");
    assert_eq!(answer.json()["meta"]["request_id"], "my-request.1");
    let long = "x".repeat(65).leak();
    for strange in ["a b", "a\"b", long] {
        let made = asked(strange).await;
        assert!(made.header("x-request-id").starts_with("req_"), "{strange}");
        assert_eq!(made.json()["meta"]["request_id"], made.header("x-request-id"));
    }
    let failed = studio.stranger();
    let failed =
        failed.send_with(Method::GET, "/v1/webhooks", None, &[("x-request-id", "mine")]).await;
    assert_eq!(failed.json()["meta"]["request_id"], "mine");
}

#[tokio::test]
async fn answers_are_safe_to_show_in_a_browser_and_say_nothing_of_the_server() {
    let studio = Studio::start().await;
    for path in ["/v1/webhooks", "/nothing", "/healthz"] {
        let answer = studio.user("usr_1").get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'", "{path}");
        assert_eq!(answer.header("server"), "", "{path}");
    }
}

#[tokio::test]
async fn a_stop_lets_requests_under_way_finish_and_takes_no_more() {
    let studio = Studio::start().await;
    let endpoint = Receiver::waiting("200 OK", "OK").await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}/test", user.webhook(&endpoint.url()).await);
    let stopping = async {
        endpoint.arrival().await;
        studio.stop();
        let refused = async {
            while tokio::net::TcpStream::connect(studio.address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), refused).await.expect("refused within 5 s");
        endpoint.release();
    };
    let (answer, ()) = tokio::join!(user.post(&path, json!({})), stopping);
    assert_eq!(answer.expect(200).data()["delivered"], true);
}

/// As `studio-webhooks all` mounts it: in a scope of an application that has other routes too.
#[tokio::test]
async fn inside_another_application_it_is_the_same() {
    let studio = Studio::start().await;
    let inner = studio.api();
    let app = App::new()
        .route("/v1/ws", web::get().to(|| async { "socket" }))
        .service(web::scope("").configure(api::routes(inner)));
    let app = test::init_service(app).await;
    let call = async |path: &str, token: Option<String>| {
        let mut request = test::TestRequest::get().uri(path);
        if let Some(token) = token {
            request = request.insert_header(("authorization", format!("Bearer {token}")));
        }
        let answer = test::call_service(&app, request.to_request()).await;
        let status = answer.status().as_u16();
        let id = answer.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
        let body = test::read_body(answer).await;
        (status, id, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(call("/v1/ws", None).await, (200, None, "socket".to_owned()));
    let user = Some(crate::studio::token("usr_1", &["user"]));
    for (path, token, expected) in
        [("/v1/webhooks", user, 200), ("/v1/webhooks", None, 401), ("/nothing", None, 404)]
    {
        let (status, id, body) = call(path, token).await;
        assert_eq!(status, expected, "{path}: {body}");
        assert!(body.contains(&format!(r#""request_id":"{}""#, id.unwrap())), "{body}");
    }
}
