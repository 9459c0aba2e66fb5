//! The command line: what it prints, what it refuses, how it stops.

use std::process::Command;

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{BINARY, Backend, Studio};

fn refused(settings: &[(&str, &str)], command: &str) -> String {
    let folder = tempfile::TempDir::new().unwrap();
    let output = Command::new(BINARY)
        .arg(command)
        .current_dir(folder.path())
        .env_clear()
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    said
}

#[test]
fn a_wrong_setting_stops_the_start_with_one_line_that_names_its_key() {
    let secret = ("STUDIO__AUTH__JWT_SECRET", "a secret for tests, of at least 32 bytes");
    let keys = ("STUDIO__SECRETS__KEYS", "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let audience = ("STUDIO__AUTH__AUDIENCE", "hooks");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "auth.jwt_secret"),
        (&[("STUDIO__AUTH__JWT_SECRET", "short")], "auth.jwt_secret"),
        (&[secret, ("STUDIO__DELIVERY__TIMEOUT", "soon")], "delivery.timeout"),
        (&[secret, ("STUDIO__DELIVERY__RETRY_DELAYS", "1m,x")], "delivery.retry_delays"),
        (&[secret, ("STUDIO__DELIVERY__ALLOW_NETWORKS", "10.0.0.0/99")], "delivery.allow_networks"),
        (&[secret, keys, ("STUDIO__API__BIND", "nowhere")], "api.bind"),
        (&[secret, ("STUDIO__API__RATE_LIMIT", "many")], "api.rate_limit"),
        (&[secret, ("STUDIO__API__ORIGINS", "*")], "api.origins"),
        (&[secret, ("STUDIO__API__TRUSTED_PROXIES", "10.0.0.0/99")], "api.trusted_proxies"),
        (&[audience, ("STUDIO__AUTH__JWKS", "ftp://keys.example/")], "auth.jwks"),
        (&[audience, ("STUDIO__AUTH__JWKS", "http://keys.example/")], "auth.jwks"),
        (&[audience, ("STUDIO__AUTH__JWKS", "/nowhere/jwks.json")], "auth.jwks"),
        (&[("STUDIO__AUTH__JWKS", "https://keys.example/")], "auth.audience"),
        (&[secret, ("STUDIO__AUTH__JWKS", "https://keys.example/")], "auth.audience"),
        (&[secret, ("STUDIO__API__NONSENSE", "1")], "nonsense"),
        (&[secret, ("STUDIO__NONSENSE__KEY", "1")], "nonsense"),
        (&[secret, keys, ("STUDIO__BROKER__URL", "kafka://x")], "broker.url"),
        (&[secret, ("STUDIO__API__BIND", "127.0.0.1:0")], "secrets.keys"),
    ];
    for (settings, key) in cases {
        let said = refused(settings, "all");
        assert!(said.contains(key), "{key} is not named: {said}");
    }
}

#[test]
fn every_command_explains_itself() {
    for command in [
        "api",
        "dispatcher",
        "gateway",
        "all",
        "migrate",
        "publish",
        "listen",
        "secrets",
        "token",
        "verify",
        "openapi",
        "demo",
        "queues",
        "rejected",
        "doctor",
        "erase",
        "audit",
    ] {
        let output = Command::new(BINARY).args([command, "--help"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains("Usage: studio-webhooks"), "{said}");
    }
}

#[test]
fn verify_tells_a_genuine_body_from_a_changed_one() {
    let folder = tempfile::TempDir::new().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, "The quick brown fox jumps over the lazy dog").unwrap();
    let signature = "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    let verify = |secret: &str| {
        let mut command = Command::new(BINARY);
        command.args(["verify", "--signature", signature, "--secret", secret]).arg(&body);
        command.output().unwrap().status.code()
    };
    assert_eq!((verify("key"), verify("other")), (Some(0), Some(1)));
}

async fn publish_brings_events_to_the_broker(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let publish = |arguments: &[&str]| {
        let output = studio.command(&[&["publish"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    publish(&["--event", "project.created", "--user", "usr_1", "--data", r#"{"a": 1.0}"#]);
    assert!(endpoint.wait_for(1).await[0].text().ends_with(r#""data":{"a": 1.0}}"#));
    let event = Published::in_project("usr_1", "p");
    std::fs::write(studio.folder.path().join("events.jsonl"), event.message()).unwrap();
    publish(&["--file", "events.jsonl"]);
    assert_eq!(endpoint.wait_for(2).await[1].text(), event.payload());
}

async fn a_stop_finishes_what_is_under_way(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::slow(std::time::Duration::from_millis(800)).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(1).await;
    let name = backend.worker();
    assert_eq!(studio.terminate(name).await, 0, "{}", studio.log(name));
    studio.spawn(name, name, &[]);
    studio.wait_ready(&studio.api).await;
    studio.wait_for_log(&webhook, "success").await;
    assert_eq!(endpoint.count(), 1, "finished before the stop, not sent again after it");
}

on_both!(publish_brings_events_to_the_broker, a_stop_finishes_what_is_under_way);
