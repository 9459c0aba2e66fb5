//! Tokens over HTTP, with a secret and with public keys, and what wrong ones cost their sender.

use access::AuthConfig;
use api::ApiConfig;
use bench::key_server::{Behaviour, KeyServer};
use bench::keys::SigningKey;
use bench::token::signed;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::studio::Studio;

const SECRET: &str = "a secret of tests, with more than 32 bytes";

fn claims(extra: &Value) -> Value {
    let exp = OffsetDateTime::now_utc().unix_timestamp() + 600;
    let mut claims = json!({ "sub": "usr_1", "aud": "hooks", "exp": exp });
    claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    claims
}

fn unlimited() -> ApiConfig {
    ApiConfig { rate_limit: 0, ..ApiConfig::default() }
}

/// The error of an answer, without the id of its request.
fn error(answer: &crate::studio::Answer) -> Value {
    answer.json()["error"].clone()
}

#[tokio::test]
async fn every_wrong_token_gets_the_same_answer() {
    let key = SigningKey::ed25519("ed-1").unwrap();
    let stranger = SigningKey::ed25519("ed-1").unwrap();
    let server = KeyServer::start(Behaviour::keys(&[&key])).await.unwrap();
    let jwks =
        AuthConfig { jwks: server.url().into(), audience: "hooks".into(), ..AuthConfig::default() };
    let secret = AuthConfig { jwt_secret: SECRET.into(), ..AuthConfig::default() };
    let both = AuthConfig { jwt_secret: SECRET.into(), ..jwks.clone() };
    let own = signed(SECRET, &claims(&json!({})));
    let theirs = key.token(&claims(&json!({})));
    for (auth, good, foreign) in [
        (secret, vec![&own], vec![&theirs]),
        (jwks, vec![&theirs], vec![&own]),
        (both, vec![&own, &theirs], vec![]),
    ] {
        let studio = Studio::start_for(unlimited(), auth).await;
        for good in good {
            studio.with_header(&format!("Bearer {good}")).get("/v1/webhooks").await.expect(200);
        }
        let mut wrong: Vec<String> = foreign.into_iter().cloned().collect();
        wrong.extend([
            stranger.token(&claims(&json!({}))),
            key.sign(r#"{"alg":"none"}"#, &claims(&json!({})).to_string()),
            key.sign(r#"{"alg":"EdDSA","kid":"../../dev/null"}"#, &claims(&json!({})).to_string()),
            key.token(&claims(&json!({ "type": "refresh" }))),
            key.token(&claims(&json!({ "sub": "" }))),
            key.token(&claims(&json!({ "exp": "tomorrow" }))),
            signed("another secret of at least 32 bytes", &claims(&json!({}))),
            signed(SECRET, &claims(&json!({ "nbf": 9_999_999_999_i64 }))),
            signed(SECRET, &claims(&json!({ "sub": "x".repeat(12_000) }))),
            "a.b.c".to_owned(),
        ]);
        let mut bodies = Vec::new();
        for token in wrong {
            let caller = studio.with_header(&format!("Bearer {token}"));
            let answer = caller.get("/v1/webhooks").await.expect(401);
            assert_eq!(answer.code(), "UNAUTHORIZED");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            bodies.push(error(&answer));
            let answer = caller.post("/v1/events", json!({})).await.expect(401);
            bodies.push(error(&answer));
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    }
}

#[tokio::test]
async fn the_first_token_of_a_new_key_is_let_in() {
    let (old, new) = (SigningKey::p256("1").unwrap(), SigningKey::p256("2").unwrap());
    let server = KeyServer::start(Behaviour::keys(&[&old])).await.unwrap();
    let auth =
        AuthConfig { jwks: server.url().into(), audience: "hooks".into(), ..AuthConfig::default() };
    let studio = Studio::start_for(unlimited(), auth).await;
    let get = async |key: &SigningKey| {
        let token = format!("Bearer {}", key.token(&claims(&json!({}))));
        studio.with_header(&token).get("/v1/webhooks").await
    };
    get(&old).await.expect(200);
    server.becomes(Behaviour::keys(&[&old, &new]));
    get(&new).await.expect(200);
    server.becomes(Behaviour::Away);
    get(&old).await.expect(200);
    for _ in 0..20 {
        get(&SigningKey::p256("3").unwrap()).await.expect(401);
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn roles_of_public_keys_are_those_of_the_secret() {
    let key = SigningKey::ed25519("1").unwrap();
    let server = KeyServer::start(Behaviour::keys(&[&key])).await.unwrap();
    let auth =
        AuthConfig { jwks: server.url().into(), audience: "hooks".into(), ..AuthConfig::default() };
    let studio = Studio::start_for(unlimited(), auth).await;
    let event = json!({ "event": "scrape.started", "user_id": "usr_1", "data": {} });
    let webhook = json!({ "name": "n", "url": "https://example.com/", "events": ["*"] });
    for (role, read, write, publish) in
        [("user", 200, 201, 403), ("readonly", 200, 403, 403), ("service", 403, 403, 202)]
    {
        let token = key.token(&claims(&json!({ "roles": [role] })));
        let caller = studio.with_header(&format!("Bearer {token}"));
        caller.get("/v1/webhooks").await.expect(read);
        caller.post("/v1/webhooks", webhook.clone()).await.expect(write);
        caller.post("/v1/events", event.clone()).await.expect(publish);
    }
}

fn limited(proxies: &str) -> ApiConfig {
    ApiConfig {
        wrong_token_limit: 5,
        trusted_proxies: serde_json::from_value(json!(proxies)).unwrap(),
        ..ApiConfig::default()
    }
}

#[tokio::test]
async fn an_address_that_sends_wrong_tokens_is_told_to_wait_and_others_are_let_in() {
    let studio = Studio::start_with(limited("")).await;
    let guessing = studio.with_header("Bearer a.b.c");
    for _ in 0..5 {
        guessing.get("/v1/webhooks").await.expect(401);
    }
    let answer = guessing.get("/v1/webhooks").await.expect(429);
    assert_eq!(answer.code(), "RATE_LIMITED");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=13).contains(&wait), "{wait}");
    // Written by the caller, and no proxy is believed.
    let forged = [("x-forwarded-for", "203.0.113.77")];
    guessing.send_with(Method::GET, "/v1/webhooks", None, &forged).await.expect(429);
    studio.user("usr_1").get("/v1/webhooks").await.expect(200);
    studio.stranger().get("/v1/webhooks").await.expect(401);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_clients_are_told_apart() {
    let studio = Studio::start_with(limited("127.0.0.0/8, 10.0.0.0/8")).await;
    let guessing = studio.with_header("Bearer a.b.c");
    let from = async |forwarded: &str| {
        let headers = [("x-forwarded-for", forwarded)];
        guessing.send_with(Method::GET, "/v1/webhooks", None, &headers).await.status
    };
    for n in 0..5 {
        // What a client writes itself stands on the left, and does not help it.
        assert_eq!(from(&format!("203.0.113.{n}, 198.51.100.1, 10.0.0.9")).await, 401);
    }
    assert_eq!(from("198.51.100.1").await, 429);
    assert_eq!(from("198.51.100.2").await, 401);
    for n in 0..5 {
        assert_eq!(from(&format!("2001:db8:0:1::{n}")).await, 401);
    }
    assert_eq!(from("2001:db8:0:1:ffff::1").await, 429, "the same /64");
    assert_eq!(from("2001:db8:0:2::1").await, 401);
}
