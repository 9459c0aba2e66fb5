//! A webhook that is changed, switched off or deleted while a delivery waits for its next
//! attempt; secrets and keys that are changed.

use std::time::Duration;

use domain::Secret;
use serde_json::{Value, json};

use crate::support::endpoint::{Endpoint, Received};
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio, Webhook};

/// Long enough to change something between two attempts.
const LATER: (&str, &str) = ("STUDIO__DELIVERY__RETRY_DELAYS", "3s,3s,3s,3s");

/// A webhook whose delivery has failed once and waits for its second attempt.
async fn waiting(studio: &Studio) -> (Webhook, Endpoint) {
    let broken = Endpoint::answering([500]).await;
    let webhook = studio.webhook("usr_1", &broken.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    broken.wait_for(1).await;
    studio.wait_for_log(&webhook, "retrying").await;
    (webhook, broken)
}

async fn call(studio: &Studio, method: &str, webhook: &Webhook, body: Option<Value>) -> u16 {
    let token = studio.token(&webhook.user, "user");
    let path = format!("/v1/webhooks/{}", webhook.id);
    studio.call(method, &path, &token, body.as_ref()).await.0
}

async fn a_deleted_webhook_gets_nothing_more(backend: Backend) {
    let studio = Studio::with(backend, &[LATER]).await;
    let (webhook, broken) = waiting(&studio).await;
    assert_eq!(call(&studio, "DELETE", &webhook, None).await, 204);
    // Past the second attempt, and a delivery that would have been behind it.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(1).await;
    assert_eq!(broken.count(), 1);
}

async fn a_webhook_switched_off_has_its_waiting_deliveries_cancelled(backend: Backend) {
    let studio = Studio::with(backend, &[LATER]).await;
    let (webhook, broken) = waiting(&studio).await;
    assert_eq!(call(&studio, "PUT", &webhook, Some(json!({ "active": false }))).await, 200);
    let log = studio.wait_for_log(&webhook, "cancelled").await;
    assert_eq!((&log["next_attempt_at"], broken.count()), (&json!(null), 1));
}

async fn the_next_attempt_goes_to_the_new_url_with_the_new_secret(backend: Backend) {
    let studio = Studio::with(backend, &[LATER]).await;
    let (webhook, broken) = waiting(&studio).await;
    let endpoint = Endpoint::answering([200]).await;
    let change = json!({ "url": endpoint.url(), "secret": "another secret of mine" });
    assert_eq!(call(&studio, "PUT", &webhook, Some(change)).await, 200);
    let second = endpoint.wait_for(1).await.remove(0);
    studio.wait_for_log(&webhook, "success").await;
    assert_eq!((broken.count(), endpoint.count()), (1, 1));
    let first = broken.requests().remove(0);
    for header in ["x-sentimatrix-delivery", "webhook-id"] {
        assert_eq!(second.header(header), first.header(header));
    }
    assert_eq!(second.header("x-sentimatrix-attempt"), "2");
    assert!(signed(&second, "x-sentimatrix-signature", "another secret of mine"));
    assert!(!signed(&second, "x-sentimatrix-signature", &webhook.secret));
}

/// Whether `header` is the specification's signature by `secret`.
fn signed(request: &Received, header: &str, secret: &str) -> bool {
    domain::verify(&Secret::new(secret), &request.body, request.header(header))
}

/// What `webhook-signature` holds by `secret`, as Standard Webhooks describes it.
fn standard(request: &Received, secret: &str) -> String {
    let of = |name| request.header(name);
    bench::signature::standard(secret, of("webhook-id"), of("webhook-timestamp"), &request.body)
}

async fn during_the_grace_period_both_secrets_verify(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let rotate = async |grace: u64| {
        let token = studio.token("usr_1", "user");
        let path = format!("/v1/webhooks/{}/rotate-secret", webhook.id);
        let body = json!({ "grace_seconds": grace });
        let (status, answer) = studio.call("POST", &path, &token, Some(&body)).await;
        assert_eq!(status, 200, "{answer}");
        // A change counts from one second after its answer.
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer["data"]["secret"].as_str().unwrap().to_owned()
    };
    let next = async |count| {
        studio.publish(&Published::in_project("usr_1", "p")).await;
        endpoint.wait_for(count).await.remove(count - 1)
    };
    let before = next(1).await;
    assert!(signed(&before, "x-sentimatrix-signature", &webhook.secret));
    assert_eq!(before.header("x-sentimatrix-signature-previous"), "");

    let second = rotate(3_600).await;
    let request = next(2).await;
    assert!(signed(&request, "x-sentimatrix-signature", &second));
    assert!(signed(&request, "x-sentimatrix-signature-previous", &webhook.secret));
    let both = [standard(&request, &second), standard(&request, &webhook.secret)];
    assert_eq!(request.header("webhook-signature"), both.join(" "));

    let third = rotate(0).await;
    let request = next(3).await;
    assert!(signed(&request, "x-sentimatrix-signature", &third));
    assert_eq!(request.header("x-sentimatrix-signature-previous"), "");
    assert_eq!(request.header("webhook-signature"), standard(&request, &third));
}

async fn the_key_of_secrets_is_changed_beside_running_services(backend: Backend) {
    const OLD: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "k2:HxweHRobGBkWFxQVEhMQEQ4PDA0KCwgJBgcEBQIDAAE=";
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let run = |command: &str, keys: &str| {
        let mut command = studio.command(&["secrets", command]);
        let output = command.env("STUDIO__SECRETS__KEYS", keys).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let both = format!("{NEW},{OLD}");
    let (code, said, _) = run("list", &both);
    let lines: Vec<Vec<&str>> = said.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(
        (code, &lines[1..]),
        (Some(0), &[vec!["k1", "2", "0", "0"], vec!["k2", "0", "0", "0"]][..])
    );

    let (code, _, error) = run("rekey", NEW);
    assert_eq!(code, Some(1));
    assert!(error.contains("secrets.keys") && error.contains("\"k1\""), "{error}");
    let (code, said, error) = run("rekey", &both);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(said, "Encrypted anew: 1 webhooks, 0 stored answers.\n");

    let services: &[&str] = match backend {
        Backend::Embedded => &["all"],
        Backend::Servers => &["api", "dispatcher"],
    };
    for service in services {
        studio.terminate(service).await;
        studio.spawn(service, service, &[("STUDIO__SECRETS__KEYS", NEW)]);
    }
    studio.wait_ready(&studio.api).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    let request = endpoint.wait_for(1).await.remove(0);
    assert!(signed(&request, "x-sentimatrix-signature", &webhook.secret));
}

on_both!(
    a_deleted_webhook_gets_nothing_more,
    a_webhook_switched_off_has_its_waiting_deliveries_cancelled,
    the_next_attempt_goes_to_the_new_url_with_the_new_secret,
    during_the_grace_period_both_secrets_verify,
    the_key_of_secrets_is_changed_beside_running_services,
);
