//! An installation that knows no secret of tokens, only the public keys of whoever makes them.

use bench::key_server::{Behaviour, KeyServer};
use bench::keys::SigningKey;
use bench::token::access_token;
use serde_json::json;
use time::OffsetDateTime;

use crate::support::studio::{Backend, JWT_SECRET, Studio};
use crate::support::{client, on_both, wait_for};

async fn without_secret(backend: Backend, jwks: &str) -> Studio {
    let settings = [("STUDIO__AUTH__JWKS", jwks), ("STUDIO__AUTH__AUDIENCE", "hooks")];
    let mut studio = Studio::prepare(backend, &settings).await;
    studio.forget_setting("STUDIO__AUTH__JWT_SECRET");
    match backend {
        Backend::Embedded => {
            studio.spawn("all", "all", &[]);
            studio.gateway.clone_from(&studio.api);
        }
        Backend::Servers => {
            studio.migrate();
            studio.spawn("api", "api", &[]);
            studio.spawn("gateway", "gateway", &[]);
            studio.wait_ready(&studio.gateway).await;
        }
    }
    studio.wait_ready(&studio.api).await;
    studio
}

fn token(key: &SigningKey) -> String {
    let exp = OffsetDateTime::now_utc().unix_timestamp() + 600;
    key.token(&json!({ "sub": "usr_1", "aud": "hooks", "exp": exp, "roles": ["user"] }))
}

/// Statuses of the API and of the gateway.
async fn statuses(studio: &Studio, token: &str) -> (u16, u16) {
    let (api, _) = studio.call("GET", "/v1/webhooks", token, None).await;
    let stream = client().get(format!("{}/v1/events/stream", studio.gateway)).bearer_auth(token);
    (api, stream.send().await.unwrap().status().as_u16())
}

async fn public_keys_open_the_api_and_the_gateway(backend: Backend) {
    let keys = [SigningKey::ed25519("1").unwrap(), SigningKey::p256("2").unwrap()];
    let rotated = SigningKey::rsa("3", 2_048).unwrap();
    let server = KeyServer::start(Behaviour::keys(&[&keys[0], &keys[1]])).await.unwrap();
    let studio = without_secret(backend, &server.url()).await;
    for key in &keys {
        assert_eq!(statuses(&studio, &token(key)).await, (200, 200), "{}", key.algorithm());
    }
    // Each process asks once for a key that it does not know.
    server.becomes(Behaviour::keys(&[&keys[0], &rotated]));
    assert_eq!(statuses(&studio, &token(&rotated)).await, (200, 200));
    let stranger = SigningKey::ed25519("1").unwrap();
    for wrong in [token(&stranger), access_token(JWT_SECRET, "usr_1", &["user"])] {
        assert_eq!(statuses(&studio, &wrong).await, (401, 401));
    }
    server.becomes(Behaviour::Away);
    assert_eq!(statuses(&studio, &token(&rotated)).await, (200, 200));
}

on_both!(public_keys_open_the_api_and_the_gateway);

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_server_of_keys_waits_for_it_by_itself() {
    let key = SigningKey::ed25519("1").unwrap();
    let server = KeyServer::start(Behaviour::Away).await.unwrap();
    let studio = without_secret(Backend::Embedded, &server.url()).await;
    assert_eq!(statuses(&studio, &token(&key)).await, (401, 401));
    server.becomes(Behaviour::keys(&[&key]));
    wait_for("a token is let in", || async {
        (statuses(&studio, &token(&key)).await == (200, 200)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_be_made_without_the_secret() {
    let server = KeyServer::start(Behaviour::Away).await.unwrap();
    let settings = [("STUDIO__AUTH__JWKS", server.url())];
    let settings = settings.each_ref().map(|(key, value)| (*key, value.as_str()));
    let mut studio = Studio::prepare(Backend::Embedded, &settings).await;
    studio.forget_setting("STUDIO__AUTH__JWT_SECRET");
    let output = studio.command(&["token", "--user", "usr_1"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("auth.jwt_secret"), "{said}");
}
