//! No way inside: whatever an endpoint or a name points to, nothing of ours is reached.

use bench::dns::{DnsAnswer, FakeDns};
use serde_json::{Value, json};

use crate::support::endpoint::{Endpoint, Script};
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio, Webhook};

/// The kinds of failure of a webhook's newest delivery.
async fn error_kinds(studio: &Studio, webhook: &Webhook) -> Vec<Value> {
    let log = studio.wait_for_log(webhook, "retrying").await;
    let path = format!("/v1/webhooks/{}/logs/{}", webhook.id, log["id"].as_str().unwrap());
    let (_, detail) = studio.call("GET", &path, &studio.token("usr_1", "user"), None).await;
    let attempts = detail["data"]["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| attempt["error_kind"].clone()).collect()
}

async fn a_name_that_points_inside_is_blocked_in_deliveries_and_tests(backend: Backend) {
    let (dns, spy) = (FakeDns::start().await.unwrap(), Endpoint::answering([200]).await);
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    dns.answer("inside.test", [DnsAnswer::address(loopback)]);
    let settings = [
        ("STUDIO__DELIVERY__DNS_SERVERS", dns.address().to_string()),
        // Nothing of this machine.
        ("STUDIO__DELIVERY__ALLOW_NETWORKS", "192.0.2.0/24".to_owned()),
    ];
    let studio = Studio::with(backend, &settings.each_ref().map(|(k, v)| (*k, v.as_str()))).await;
    let url = spy.url().replace("127.0.0.1", "inside.test");
    let webhook = studio.webhook("usr_1", &url, json!({})).await;
    let token = studio.token("usr_1", "user");
    let test = format!("/v1/webhooks/{}/test", webhook.id);
    let (status, tested) = studio.call("POST", &test, &token, None).await;
    assert_eq!((status, &tested["data"]["delivered"]), (200, &json!(false)));
    assert_eq!(tested["data"]["error"], "The address cannot be used");
    studio.publish(&Published::in_project("usr_1", "p")).await;
    assert_eq!(error_kinds(&studio, &webhook).await[0], "blocked_address");
    assert_eq!(spy.count(), 0);
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
    a_name_that_points_inside_is_blocked_in_deliveries_and_tests,
    proxies_of_the_environment_are_not_used,
    no_redirect_is_followed_whatever_its_status_and_target,
    the_products_own_addresses_are_no_endpoints,
);
