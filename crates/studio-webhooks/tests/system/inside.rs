//! No way inside: whatever an endpoint or a name points to, nothing of ours is reached.

use bench::dns::{DnsAnswer, FakeDns};
use serde_json::{Value, json};

use crate::support::endpoint::{Endpoint, Script};
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio, Webhook};
use crate::support::{on_both, wait_for};

/// Everything that its user is shown of a webhook with one delivery and one test: the test's
/// answer, the webhook, its log with statistics, and each delivery with its attempts.
async fn everything_shown(studio: &Studio, webhook: &Webhook) -> Vec<Value> {
    let token = studio.token(&webhook.user, "user");
    let base = format!("/v1/webhooks/{}", webhook.id);
    let (status, tested) = studio.call("POST", &format!("{base}/test"), &token, None).await;
    assert_eq!((status, &tested["data"]["delivered"]), (200, &json!(false)));
    studio.publish(&Published::in_project(&webhook.user, "p")).await;
    let failed = wait_for("both logs being over", || async {
        let logs = studio.logs(webhook).await;
        let over = logs.len() == 2 && logs.iter().all(|log| log["status"] == "failed");
        over.then_some(logs)
    })
    .await;
    let mut shown = vec![tested, json!(failed)];
    let deliveries =
        failed.iter().map(|log| format!("{base}/logs/{}", log["id"].as_str().unwrap()));
    let events =
        failed.iter().map(|log| format!("/v1/events/{}", log["event_id"].as_str().unwrap()));
    let paths = [base.clone(), format!("{base}/logs"), format!("{base}/jobs")];
    for path in paths.into_iter().chain(deliveries).chain(events) {
        shown.push(studio.call("GET", &path, &token, None).await.1);
    }
    shown
}

/// `value` without what must differ: ids, times, and the names that the user gave.
fn without_names(value: &Value, names: &[&str]) -> Value {
    let differs = |key: &str| {
        key == "id" || key.ends_with("_id") || key.ends_with("_at")
            // They hold ids, or are as long as ids.
            || matches!(key, "timestamp" | "secret" | "body" | "headers" | "payload_size_bytes")
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| {
                let known = differs(key) && !value.is_null();
                (key.clone(), if known { json!("…") } else { without_names(value, names) })
            })
            .collect(),
        Value::Array(values) => values.iter().map(|value| without_names(value, names)).collect(),
        Value::String(text) => {
            json!(names.iter().fold(text.clone(), |text, name| text.replace(name, "NAME")))
        }
        other => other.clone(),
    }
}

async fn a_name_that_points_inside_looks_like_one_that_nobody_knows(backend: Backend) {
    let (dns, spy) = (FakeDns::start().await.unwrap(), Endpoint::answering([200]).await);
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    dns.answer("inside.test", [DnsAnswer::address(loopback)]);
    let settings = [
        ("STUDIO__DELIVERY__DNS_SERVERS", dns.address().to_string()),
        ("STUDIO__DELIVERY__RETRY_DELAYS", "1s,1s,1s,1s".to_owned()),
        // Nothing of this machine.
        ("STUDIO__DELIVERY__ALLOW_NETWORKS", "192.0.2.0/24".to_owned()),
    ];
    let studio = Studio::with(backend, &settings.each_ref().map(|(k, v)| (*k, v.as_str()))).await;
    let mut shown = Vec::new();
    for (user, name) in [("usr_1", "inside.test"), ("usr_2", "nobody.test")] {
        let url = spy.url().replace("127.0.0.1", name);
        let webhook = studio.webhook(user, &url, json!({})).await;
        shown.push(everything_shown(&studio, &webhook).await);
    }
    let names = ["inside.test", "nobody.test", "usr_1", "usr_2"];
    let [inside, nobody] = [&shown[0], &shown[1]]
        .map(|all| all.iter().map(|value| without_names(value, &names)).collect::<Vec<_>>());
    for (inside, nobody) in inside.iter().zip(&nobody) {
        assert_eq!(inside, nobody);
    }
    let text = json!(shown[0]).to_string();
    assert!(
        text.contains("The address cannot be used") && text.contains(r#""error_kind":"address""#),
        "{text}"
    );
    assert!(!text.contains("blocked") && !text.contains("dns"), "{text}");
    assert_eq!(spy.count(), 0);
    // Operators see which it was.
    let metrics = studio.metrics(&studio.dispatcher).await;
    for kind in ["blocked_address", "dns"] {
        assert!(metrics.contains(&format!("result=\"{kind}\"")), "{kind}: {metrics}");
    }
}

async fn proxies_of_the_environment_are_not_used(backend: Backend) {
    let (spy, endpoint) = (Endpoint::answering([200]).await, Endpoint::answering([200]).await);
    let proxy = spy.url();
    let names =
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let settings: Vec<(&str, &str)> = names.iter().map(|name| (*name, proxy.as_str())).collect();
    let studio = Studio::with(backend, &settings).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(1).await;
    let test = format!("/v1/webhooks/{}/test", webhook.id);
    studio.call("POST", &test, &studio.token("usr_1", "user"), None).await;
    assert_eq!((endpoint.count(), spy.count()), (2, 0));
}

async fn no_redirect_is_followed_whatever_its_status_and_target(backend: Backend) {
    let studio = Studio::start(backend).await;
    let spy = Endpoint::answering([200]).await;
    let targets: [Option<String>; 5] = [
        Some("/elsewhere".into()),
        Some("//127.0.0.1/".into()),
        Some("https://localhost/".into()),
        Some("file:///etc/passwd".into()),
        None,
    ];
    for (status, other) in [301, 302, 303, 307, 308].into_iter().zip(targets) {
        for location in [Some(spy.url()), other] {
            let script =
                Script { statuses: vec![status], delay: std::time::Duration::ZERO, location };
            let endpoint = Endpoint::with(script).await;
            let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
            let test = format!("/v1/webhooks/{}/test", webhook.id);
            let token = studio.token("usr_1", "user");
            let (_, tested) = studio.call("POST", &test, &token, None).await;
            assert_eq!(tested["data"]["status_code"], status);
            assert_eq!(tested["data"]["delivered"], false);
            assert_eq!(endpoint.count(), 1);
        }
    }
    assert_eq!(spy.count(), 0);
}

async fn the_products_own_addresses_are_no_endpoints(backend: Backend) {
    let allow = [("STUDIO__DELIVERY__ALLOW_NETWORKS", "192.0.2.0/24")];
    let studio = Studio::with(backend, &allow).await;
    let token = studio.token("usr_1", "user");
    for url in [format!("{}/v1/events", studio.api), format!("{}/metrics", studio.dispatcher)] {
        let body = json!({ "name": "own", "url": url, "events": ["*"] });
        let (status, answer) = studio.call("POST", "/v1/webhooks", &token, Some(&body)).await;
        assert_eq!((status, &answer["error"]["details"][0]["field"]), (422, &json!("url")));
    }
}

on_both!(
    a_name_that_points_inside_looks_like_one_that_nobody_knows,
    proxies_of_the_environment_are_not_used,
    no_redirect_is_followed_whatever_its_status_and_target,
    the_products_own_addresses_are_no_endpoints,
);
