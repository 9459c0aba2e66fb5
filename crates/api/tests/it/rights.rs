//! Rights come first: before a kept answer, before the body, on every route and every request.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::studio::{Answer, Caller, Studio, token, token_of};

async fn keyed(caller: &Caller<'_>, path: &str, body: &Value, key: &str) -> Answer {
    let headers = [("idempotency-key", key)];
    caller.send_with(Method::POST, path, Some(body.to_string()), &headers).await
}

fn webhook() -> Value {
    json!({ "name": "n", "url": "https://example.com/", "events": ["*"] })
}

#[tokio::test]
async fn a_kept_answer_is_given_only_to_who_may_ask_for_it() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let first = keyed(&user, "/v1/webhooks", &webhook(), "k").await.expect(201);
    let secret = first.data()["secret"].as_str().unwrap().to_owned();
    for roles in [&["readonly"][..], &[], &["service"], &["user", "readonly"], &["emperor"]] {
        let lowered = studio.with_roles("usr_1", roles);
        let answer = keyed(&lowered, "/v1/webhooks", &webhook(), "k").await.expect(403);
        assert_eq!(answer.code(), "FORBIDDEN", "{roles:?}");
        assert!(!answer.text.contains(&secret), "{roles:?}");
    }
    keyed(&studio.stranger(), "/v1/webhooks", &webhook(), "k").await.expect(401);
    assert_eq!(keyed(&user, "/v1/webhooks", &webhook(), "k").await.expect(201).text, first.text);
}

#[tokio::test]
async fn an_admin_who_is_none_any_more_gets_no_kept_answer_of_a_user() {
    let studio = Studio::start().await;
    let admin = studio.with_roles("usr_boss", &["admin"]);
    let id = studio.user("usr_1").webhook("https://example.com/").await;
    let path = format!("/v1/webhooks/{id}/rotate-secret?user_id=usr_1");
    let first = keyed(&admin, &path, &json!({}), "k").await.expect(200);
    let secret = first.data()["secret"].as_str().unwrap().to_owned();
    for roles in [&["user"][..], &["admin", "readonly"], &["readonly"], &[]] {
        let demoted = studio.with_roles("usr_boss", roles);
        let answer = keyed(&demoted, &path, &json!({}), "k").await.expect(403);
        assert!(!answer.text.contains(&secret), "{roles:?}");
    }
    assert_eq!(keyed(&admin, &path, &json!({}), "k").await.expect(200).text, first.text);
}

#[tokio::test]
async fn a_key_is_one_persons_own_whoever_acts_for_whom() {
    let studio = Studio::start().await;
    let (user, admin) = (studio.user("usr_1"), studio.with_roles("usr_boss", &["admin"]));
    let other_admin = studio.with_roles("usr_aide", &["admin"]);
    // Each makes one of their own: nobody is given, or kept from, what another was answered.
    let path = "/v1/webhooks?user_id=usr_1";
    let mut secrets = BTreeSet::new();
    for caller in [&user, &admin, &other_admin] {
        let acting = if std::ptr::eq(caller, &user) { "/v1/webhooks" } else { path };
        let made = keyed(caller, acting, &webhook(), "k").await.expect(201);
        assert_eq!(made.header("idempotent-replayed"), "");
        secrets.insert(made.data()["secret"].as_str().unwrap().to_owned());
    }
    assert_eq!(secrets.len(), 3);
    assert_eq!(user.get("/v1/webhooks").await.data().as_array().unwrap().len(), 3);
    // An admin's key for themself is not the one of acting for a user of that very request.
    let own = keyed(&admin, "/v1/webhooks", &webhook(), "k").await.expect(201);
    assert_eq!(own.header("idempotent-replayed"), "");
    assert_eq!(
        studio.user("usr_boss").get("/v1/webhooks").await.data().as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn an_expired_token_gets_no_kept_answer() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    keyed(&user, "/v1/webhooks", &webhook(), "k").await.expect(201);
    let expired = token_of("usr_1", &["user"], -3_600, -60);
    let expired = studio.with_header(&format!("Bearer {expired}"));
    keyed(&expired, "/v1/webhooks", &webhook(), "k").await.expect(401);
}

/// Every request that has a body, with ids of nothing.
fn with_bodies() -> Vec<(Method, String)> {
    let webhook = format!("/v1/webhooks/wh_{}", "0".repeat(32));
    let log = format!("log_{}", "0".repeat(32));
    let mut all = vec![
        (Method::POST, "/v1/webhooks".to_owned()),
        (Method::PUT, webhook.clone()),
        (Method::PATCH, webhook.clone()),
        (Method::POST, "/v1/events".to_owned()),
        (Method::POST, "/v1/users/usr_2/sign-out".to_owned()),
        (Method::POST, format!("{webhook}/logs/{log}/redeliver")),
    ];
    for last in ["test", "rotate-secret", "redeliver", "replay"] {
        all.push((Method::POST, format!("{webhook}/{last}")));
    }
    all
}

#[tokio::test]
async fn what_a_body_is_matters_only_to_who_may_send_it() {
    let studio = Studio::start().await;
    let readonly = token("usr_1", &["readonly"]);
    for (method, path) in with_bodies() {
        for kind in ["application/json", "text/plain"] {
            for key in ["", "idempotency-key: k\r\n"] {
                let answered = async |authorization: &str| {
                    let head = format!(
                        "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\
                         content-type: {kind}\r\n{key}{authorization}connection: close\r\n\r\n"
                    );
                    status_of(&studio, &head).await
                };
                assert_eq!(answered("").await, "401", "{method} {path} {kind} {key}");
                let readonly = format!("authorization: Bearer {readonly}\r\n");
                assert_eq!(answered(&readonly).await, "403", "{method} {path} {kind} {key}");
            }
        }
    }
}

/// The status that a head alone is answered with, without a byte of its body.
async fn status_of(studio: &Studio, head: &str) -> String {
    let mut socket = TcpStream::connect(studio.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    let reading = socket.read_exact(&mut begin);
    match tokio::time::timeout(Duration::from_secs(5), reading).await {
        Ok(read) => drop(read.unwrap()),
        Err(_) => return "nothing".to_owned(),
    }
    String::from_utf8_lossy(&begin[9..]).into_owned()
}
