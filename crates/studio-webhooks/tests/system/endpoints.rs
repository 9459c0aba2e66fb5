//! Endpoints that prove themselves, signatures that a stranger can check and nobody can make, and
//! credentials that stay with the host they were given for; with the guide's own programs.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::endpoint::{Endpoint, Received};
use crate::support::events::Published;
use crate::support::studio::{BINARY, Backend, Studio, Webhook};
use crate::support::{on_both, wait_for};

const ASKING: (&str, &str) = ("STUDIO__API__VERIFY_ENDPOINTS", "true");

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").canonicalize().unwrap()
}

fn python() -> PathBuf {
    bench::servers::target_folder().join("python/bin/python3")
}

/// The guide's endpoint, running.
struct Guide {
    child: Child,
    url: String,
    /// What it printed: the events that it heard of.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Guide {
    fn start(secret: &str) -> Self {
        let mut child = Command::new(python())
            .arg(examples().join("endpoint.py"))
            .env("WEBHOOK_SECRET", secret)
            .stdout(Stdio::piped())
            .spawn()
            .expect("`make test-tools` installs it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next().unwrap().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = heard.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                all.lock().unwrap().push(line);
            }
        });
        Self { child, url, heard }
    }

    async fn hears(&self, event: &Published) {
        let line = format!("{} {}", event.kind, event.id);
        wait_for(&format!("the guide's endpoint hears of {line}"), || async {
            self.heard.lock().unwrap().contains(&line).then_some(())
        })
        .await;
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn call(
    studio: &Studio,
    webhook: &Webhook,
    (method, path): (&str, &str),
    body: Value,
) -> Value {
    let token = studio.token(&webhook.user, "user");
    let path = format!("/v1/webhooks/{}{path}", webhook.id);
    let body = (method != "GET").then_some(&body);
    let (status, answer) = studio.call(method, &path, &token, body).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer["data"].clone()
}

async fn verified(studio: &Studio, webhook: &Webhook) {
    wait_for("the endpoint is verified", || async {
        let shown = call(studio, webhook, ("GET", ""), json!(null)).await;
        (shown["verification"] == "verified").then_some(())
    })
    .await;
}

async fn a_pending_endpoint_hears_of_nothing_until_it_proved_itself(backend: Backend) {
    let studio = Studio::with(backend, &[ASKING]).await;
    let guide = Guide::start("a secret of the guide");
    let secret = json!({ "secret": "a secret of the guide" });
    let proved = studio.webhook("usr_1", &guide.url, secret.clone()).await;
    let stranger = Endpoint::answering([200]).await;
    let pending = studio.webhook("usr_1", &stranger.url(), secret).await;
    verified(&studio, &proved).await;
    let event = Published::in_project("usr_1", "p");
    studio.publish(&event).await;
    guide.hears(&event).await;
    let asked = stranger.wait_for(1).await;
    assert_eq!(asked[0].header("x-sentimatrix-event"), "endpoint.verification");
    let shown = call(&studio, &pending, ("GET", ""), json!(null)).await;
    assert_eq!(shown["verification"], "pending");
    assert_eq!((stranger.count(), studio.logs(&pending).await.len()), (1, 0));

    // Its owner finds the right place for it, and has what was missed.
    let other = Guide::start("a secret of the guide");
    call(&studio, &pending, ("PATCH", ""), json!({ "url": other.url })).await;
    verified(&studio, &pending).await;
    let since = json!({ "since": "2026-01-01T00:00:00Z" });
    call(&studio, &pending, ("POST", "/replay"), since).await;
    other.hears(&event).await;
    assert_eq!(stranger.count(), 1, "it was asked once");
}

async fn what_waited_for_an_endpoint_is_cancelled_when_another_has_to_prove_itself(
    backend: Backend,
) {
    let studio = Studio::with(backend, &[ASKING]).await;
    let guide = Guide::start("a secret of the guide");
    let secret = json!({ "secret": "a secret of the guide" });
    let webhook = studio.webhook("usr_1", &guide.url, secret).await;
    verified(&studio, &webhook).await;
    drop(guide);
    let event = Published::in_project("usr_1", "p");
    studio.publish(&event).await;
    studio.wait_for_log(&webhook, "retrying").await;
    let stranger = Endpoint::answering([200]).await;
    call(&studio, &webhook, ("PUT", ""), json!({ "url": stranger.url() })).await;
    studio.wait_for_log(&webhook, "cancelled").await;
    let kinds = stranger.requests();
    let asked = |request: &Received| request.header("x-sentimatrix-event").to_owned();
    assert!(kinds.iter().all(|request| asked(request) == "endpoint.verification"));

    let other = Guide::start("a secret of the guide");
    call(&studio, &webhook, ("PUT", ""), json!({ "url": other.url })).await;
    verified(&studio, &webhook).await;
    let range = json!({ "since": "2026-01-01T00:00:00Z", "status": "cancelled" });
    call(&studio, &webhook, ("POST", "/redeliver"), range).await;
    other.hears(&event).await;
}

/// Whether `program` finds the delivery genuine: the public key and the three headers as
/// arguments, the body as input.
fn accepts(mut program: Command, request: &Received, body: &[u8]) -> bool {
    program.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = program.spawn().unwrap_or_else(|e| panic!("{program:?}: {e}"));
    child.stdin.take().unwrap().write_all(body).unwrap();
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(0 | 1)), "{program:?} {:?}: {code:?}", request.headers);
    code == Some(0)
}

fn programs(request: &Received, key: &str) -> [Command; 3] {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let [id, at, signature] = headers.map(|name| request.header(name));
    let mut guide = [Command::new(python()), Command::new("node")];
    for (command, program) in guide.iter_mut().zip(["verify_ed25519.py", "verify_ed25519.js"]) {
        command.arg(examples().join(program)).args([key, id, at, signature]);
    }
    let [by_python, by_node] = guide;
    let mut own = Command::new(BINARY);
    own.args(["verify", "--public-key", key, "--id", id, "--timestamp", at]);
    own.args(["--signature", signature]);
    [by_python, by_node, own]
}

#[track_caller]
fn assert_signed(request: &Received, keys: &[&str], other: &str) {
    for key in keys {
        for program in programs(request, key) {
            assert!(accepts(program, request, &request.body), "{key} {:?}", request.headers);
        }
        let changed = [b" ", request.body.as_ref()].concat();
        for program in programs(request, key) {
            assert!(!accepts(program, request, &changed), "a changed body");
        }
    }
    for program in programs(request, other) {
        assert!(!accepts(program, request, &request.body), "another key");
    }
}

async fn deliveries_by_ed25519_verify_with_the_public_key_alone(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({ "signing": "ed25519" })).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let first = text(&call(&studio, &webhook, ("GET", ""), json!(null)).await["public_key"]);
    studio.publish(&Published::in_project("usr_1", "p")).await;
    let request = endpoint.wait_for(1).await.remove(0);
    let nobodys = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    assert_signed(&request, &[&first], nobodys);

    let rotated = call(&studio, &webhook, ("POST", "/rotate-secret"), json!({})).await;
    let second = text(&rotated["public_key"]);
    assert_eq!(text(&rotated["previous_public_key"]), first);
    // Deliveries follow within a second: until then they are by the first key alone.
    let both = wait_for("a delivery by both keys", || async {
        studio.publish(&Published::in_project("usr_1", "p")).await;
        let before = endpoint.count();
        let last = endpoint.wait_for(before.max(2)).await.pop()?;
        last.header("webhook-signature").contains(' ').then_some(last)
    })
    .await;
    assert_signed(&both, &[&first, &second], nobodys);
}

async fn credentials_stay_with_the_host_that_they_were_given_for(backend: Backend) {
    let studio = Studio::start(backend).await;
    let (old, new) = (Endpoint::answering([500]).await, Endpoint::answering([200]).await);
    let headers = json!({ "headers": {
        "Authorization": "Bearer mine", "X-Plain": "a",
        "X-Tenant": { "value": "mine", "sensitive": true },
    } });
    let webhook = studio.webhook("usr_1", &old.url(), headers).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    let first = old.wait_for(1).await.remove(0);
    assert_eq!(first.header("authorization"), "Bearer mine");
    let change = json!({ "url": new.url() });
    let changed = call(&studio, &webhook, ("PATCH", ""), change).await;
    assert_eq!(changed["removed_headers"], json!(["Authorization", "X-Tenant"]));
    // The retry that was waiting, and a new delivery.
    studio.publish(&Published::in_project("usr_1", "p")).await;
    for request in new.wait_for(2).await {
        assert_eq!((request.header("authorization"), request.header("x-tenant")), ("", ""));
        assert_eq!(request.header("x-plain"), "a");
    }
}

on_both!(
    a_pending_endpoint_hears_of_nothing_until_it_proved_itself,
    what_waited_for_an_endpoint_is_cancelled_when_another_has_to_prove_itself,
    deliveries_by_ed25519_verify_with_the_public_key_alone,
    credentials_stay_with_the_host_that_they_were_given_for,
);
