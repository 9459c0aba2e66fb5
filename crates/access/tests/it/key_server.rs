//! Where the keys come from: kept, read again, bounded, and used on while the server is away.

use std::time::Duration;

use access::{AuthConfig, Denied, Verifier};
use bench::key_server::{Behaviour, KeyServer};
use bench::keys::SigningKey;
use serde_json::json;

use crate::keys::{AUDIENCE, ED25519, P256, claims, config, now, until, verifier, verifier_of};

fn token(key: &SigningKey) -> String {
    key.token(&serde_json::from_str(&claims("")).unwrap())
}

/// A verifier that has read the keys of `server`.
async fn following(server: &KeyServer, refresh: Duration) -> Verifier {
    let config = AuthConfig { jwks_refresh: refresh, ..config(&server.url()) };
    let verifier = verifier_of(&config);
    until(|| verifier.verify(&token(&ED25519), now()).is_ok()).await;
    verifier
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn the_first_token_waits_for_the_first_reading() {
    let server = KeyServer::start(Behaviour::keys(&[&ED25519])).await.unwrap();
    let verifier = verifier(&server.url());
    let token = token(&ED25519);
    assert_eq!(verifier.verify(&token, now()), Err(Denied::Invalid));
    assert!(verifier.learn(&token, now()).await);
    assert!(verifier.verify(&token, now()).is_ok());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_new_key_is_read_when_a_token_names_it() {
    let server = KeyServer::start(Behaviour::keys(&[&ED25519])).await.unwrap();
    let verifier = following(&server, HOUR).await;
    server.becomes(Behaviour::keys(&[&ED25519, &P256]));
    let fresh = token(&P256);
    assert_eq!(verifier.verify(&fresh, now()), Err(Denied::Invalid));
    assert!(verifier.learn(&fresh, now()).await);
    assert!(verifier.verify(&fresh, now()).is_ok());
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn unknown_keys_make_the_server_be_asked_once_a_minute_whatever_comes() {
    let server = KeyServer::start(Behaviour::keys(&[&ED25519])).await.unwrap();
    let verifier = following(&server, HOUR).await;
    let asked = server.requests();
    let all = (0..200).map(|n| {
        let verifier = verifier.clone();
        async move {
            let header = json!({ "alg": "EdDSA", "kid": format!("unknown-{n}") }).to_string();
            let token = ED25519.sign(&header, &claims(""));
            assert_eq!(verifier.verify(&token, now()), Err(Denied::Invalid));
            verifier.learn(&token, now()).await;
            assert_eq!(verifier.verify(&token, now()), Err(Denied::Invalid));
        }
    });
    futures::future::join_all(all).await;
    assert_eq!(server.requests(), asked + 1);
    assert!(verifier.verify(&token(&ED25519), now()).is_ok());
}

#[tokio::test]
async fn wrong_tokens_of_known_keys_ask_nobody_and_wait_for_nothing() {
    let server = KeyServer::start(Behaviour::keys(&[&ED25519])).await.unwrap();
    let verifier = following(&server, HOUR).await;
    let asked = server.requests();
    let wrong = format!("{}AAAA", token(&ED25519));
    assert_eq!(verifier.verify(&wrong, now()), Err(Denied::Invalid));
    assert!(!verifier.learn(&wrong, now()).await);
    assert!(!verifier.learn("garbage", now()).await);
    assert_eq!(server.requests(), asked);
}

#[tokio::test]
async fn keys_stay_in_use_for_a_day_while_the_server_is_away_slow_or_wrong() {
    let server = KeyServer::start(Behaviour::keys(&[&ED25519])).await.unwrap();
    let verifier = following(&server, Duration::from_secs(1)).await;
    for trouble in [
        Behaviour::Away,
        Behaviour::Status("503 Service Unavailable"),
        Behaviour::Status("302 Found"),
        Behaviour::Body("<html>".into()),
        Behaviour::Body(r#"{"keys":[]}"#.into()),
        Behaviour::Endless,
        Behaviour::Silent,
    ] {
        server.becomes(trouble.clone());
        let asked = server.requests();
        until(|| server.requests() > asked + 1 || matches!(trouble, Behaviour::Silent)).await;
        assert!(verifier.verify(&token(&ED25519), now()).is_ok(), "{trouble:?}");
    }
    let later = |hours| {
        let at = now() + time::Duration::hours(hours);
        let claims = json!({ "sub": "usr_1", "aud": AUDIENCE, "exp": at.unix_timestamp() + 600 });
        verifier.verify(&ED25519.token(&claims), at)
    };
    assert!(later(23).is_ok());
    assert_eq!(later(25), Err(Denied::Invalid));
    // It comes back by itself.
    server.becomes(Behaviour::keys(&[&P256]));
    until(|| verifier.verify(&token(&P256), now()).is_ok()).await;
    assert_eq!(verifier.verify(&token(&ED25519), now()), Err(Denied::Invalid), "withdrawn");
}

#[tokio::test]
async fn a_silent_server_holds_nobody_up_for_long() {
    let server = KeyServer::start(Behaviour::keys(&[&ED25519])).await.unwrap();
    let verifier = following(&server, HOUR).await;
    server.becomes(Behaviour::Silent);
    let began = std::time::Instant::now();
    assert!(!verifier.learn(&token(&P256), now()).await);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let began = std::time::Instant::now();
    assert!(verifier.verify(&token(&ED25519), now()).is_ok());
    assert!(began.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_file_is_read_at_the_start_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let write = |key: &SigningKey| {
        std::fs::write(&path, json!({ "keys": [key.jwk()] }).to_string()).unwrap();
    };
    write(&ED25519);
    let config =
        AuthConfig { jwks_refresh: Duration::from_secs(1), ..config(&path.display().to_string()) };
    let verifier = verifier_of(&config);
    assert!(verifier.verify(&token(&ED25519), now()).is_ok(), "at once");
    write(&P256);
    until(|| verifier.verify(&token(&P256), now()).is_ok()).await;
    for wrong in ["/nowhere/jwks.json", folder.path().to_str().unwrap()] {
        let error = Verifier::new(&crate::keys::config(wrong)).unwrap_err();
        assert_eq!(error.key, "auth.jwks", "{error}");
    }
    std::fs::write(&path, "nonsense").unwrap();
    assert_eq!(Verifier::new(&config).unwrap_err().key, "auth.jwks");
}

#[tokio::test]
async fn nothing_is_read_once_nobody_checks_tokens_any_more() {
    let server = KeyServer::start(Behaviour::keys(&[&ED25519])).await.unwrap();
    drop(following(&server, Duration::from_secs(1)).await);
    tokio::task::yield_now().await;
    let asked = server.requests();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(server.requests() <= asked, "one more than {asked}");
}
