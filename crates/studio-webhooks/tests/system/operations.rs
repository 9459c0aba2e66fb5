//! The operations of the specification, through the running services.

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn every_operation_answers_as_specified(backend: Backend) {
    let studio = Studio::start(backend).await;
    let token = studio.token("usr_1", "user");
    let endpoint = Endpoint::answering([200, 500]).await;
    let body = json!({
        "name": "Slack Notifications", "url": endpoint.url(),
        "events": ["scrape.completed", "analysis.completed"], "project_ids": ["proj_abc123"],
        "headers": { "X-Custom-Header": "value" }, "secret": "my_webhook_secret",
    });
    let (status, made) = studio.call("POST", "/v1/webhooks", &token, Some(&body)).await;
    assert_eq!((status, &made["success"]), (201, &json!(true)));
    let data = &made["data"];
    assert_eq!(
        (&data["name"], &data["secret"], &data["active"]),
        (&body["name"], &body["secret"], &json!(true))
    );
    let id = data["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("wh_") && data["created_at"].as_str().unwrap().ends_with('Z'));

    let (status, list) = studio.call("GET", "/v1/webhooks", &token, None).await;
    assert_eq!(status, 200);
    let listed = &list["data"][0];
    assert_eq!(
        (&listed["secret"], &listed["success_rate"]),
        (&json!("whsec_...ret"), &json!(null))
    );
    for key in [
        "id",
        "name",
        "url",
        "events",
        "active",
        "secret",
        "created_at",
        "last_triggered_at",
        "success_rate",
    ] {
        assert!(keys(listed).contains(&key), "{key}");
    }
    assert_eq!(list["meta"]["pagination"]["total"], 1);
    assert!(list["meta"]["request_id"].as_str().unwrap().starts_with("req_"));

    let path = format!("/v1/webhooks/{id}");
    let change = json!({ "name": "Updated Name", "events": ["scrape.completed"], "active": false });
    let (status, changed) = studio.call("PUT", &path, &token, Some(&change)).await;
    assert_eq!(
        (status, &changed["data"]["name"], &changed["data"]["active"]),
        (200, &json!("Updated Name"), &json!(false))
    );
    let (_, kept) = studio.call("GET", &path, &token, None).await;
    assert_eq!(kept["data"]["project_ids"], json!(["proj_abc123"]), "left out, it stays");

    let test = format!("{path}/test");
    let (status, delivered) = studio.call("POST", &test, &token, None).await;
    assert_eq!(
        (status, &delivered["data"]["delivered"], &delivered["data"]["status_code"]),
        (200, &json!(true), &json!(200))
    );
    assert_eq!(delivered["data"]["response_body"], "OK");
    assert!(delivered["data"]["response_time_ms"].is_u64());
    let (_, failed) = studio.call("POST", &test, &token, None).await;
    assert_eq!(
        (&failed["success"], &failed["data"]["delivered"], &failed["data"]["error"]),
        (&json!(true), &json!(false), &json!("Internal Server Error"))
    );

    let (status, logs) =
        studio.call("GET", &format!("{path}/logs?status=failed"), &token, None).await;
    assert_eq!((status, logs["data"].as_array().unwrap().len()), (200, 1));
    let log = &logs["data"][0];
    assert_eq!(
        (&log["event"], &log["status"], &log["status_code"], &log["error"], &log["test"]),
        (
            &json!("scrape.completed"),
            &json!("failed"),
            &json!(500),
            &json!("Internal Server Error"),
            &json!(true)
        )
    );

    assert_eq!(studio.call("DELETE", &path, &token, None).await.0, 204);
    assert_eq!(studio.call("GET", &path, &token, None).await.0, 404);
}

async fn another_users_webhook_does_not_exist(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let (stranger, change) = (studio.token("usr_2", "user"), json!({ "name": "mine" }));
    let path = format!("/v1/webhooks/{}", webhook.id);
    for (method, path, body) in [
        ("GET", path.clone(), None),
        ("PUT", path.clone(), Some(&change)),
        ("PATCH", path.clone(), Some(&change)),
        ("DELETE", path.clone(), None),
        ("POST", format!("{path}/test"), None),
        ("POST", format!("{path}/rotate-secret"), None),
        ("GET", format!("{path}/logs"), None),
    ] {
        let (status, answer) = studio.call(method, &path, &stranger, body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (404, &json!("NOT_FOUND")),
            "{method} {path}"
        );
    }
    let (_, kept) = studio.call("GET", &path, &studio.token("usr_1", "user"), None).await;
    assert_eq!(kept["data"]["name"], "test");
    assert_eq!(endpoint.count(), 0);
}

async fn tokens_and_roles_are_respected(backend: Backend) {
    let studio = Studio::start(backend).await;
    let (status, answer) = studio.call("GET", "/v1/webhooks", "nonsense", None).await;
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("UNAUTHORIZED")));
    let body = json!({ "name": "n", "url": "https://example.com/", "events": ["*"] });
    let readonly = studio.token("usr_1", "readonly");
    assert_eq!(studio.call("POST", "/v1/webhooks", &readonly, Some(&body)).await.0, 403);
    assert_eq!(studio.call("GET", "/v1/webhooks", &readonly, None).await.0, 200);
    let event = json!({ "event": "project.created", "user_id": "usr_1", "data": {} });
    let user = studio.token("usr_1", "user");
    assert_eq!(studio.call("POST", "/v1/events", &user, Some(&event)).await.0, 403);
    let service = studio.token("svc", "service");
    assert_eq!(studio.call("POST", "/v1/events", &service, Some(&event)).await.0, 202);
    assert_eq!(studio.call("GET", "/v1/webhooks", &service, None).await.0, 403);
}

async fn everything_wrong_is_named_at_once(backend: Backend) {
    let studio = Studio::start(backend).await;
    let token = studio.token("usr_1", "user");
    let body = json!({
        "name": "", "url": "http://169.254.169.254/latest", "events": ["scrape.exploded"],
        "headers": { "Host": "x" }, "secret": "short", "nonsense": 1, "active": "yes",
    });
    let (status, answer) = studio.call("POST", "/v1/webhooks", &token, Some(&body)).await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("VALIDATION_ERROR")));
    let details = answer["error"]["details"].as_array().unwrap();
    let mut fields: Vec<&str> = details.iter().map(|d| d["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["active", "events[0]", "headers.Host", "name", "nonsense", "secret", "url"]
    );
}

async fn one_log_shows_the_request_as_the_endpoint_received_it(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([500, 200]).await;
    let fields = json!({ "headers": { "Authorization": "Bearer abc", "x-own": "value" } });
    let webhook = studio.webhook("usr_1", &endpoint.url(), fields).await;
    let event = Published::new("usr_1", "scrape.failed", r#"{"n": 1.0, "e":"\u00e9"}"#);
    studio.publish(&event).await;
    let log = studio.wait_for_log(&webhook, "success").await;
    let path = format!("/v1/webhooks/{}", webhook.id);
    let token = studio.token("usr_1", "user");
    let detail = format!("{path}/logs/{}", log["id"].as_str().unwrap());
    let (_, shown) = studio.call("GET", &detail, &token, None).await;
    let request = &shown["data"]["request"];
    assert_eq!((&request["method"], &request["complete"]), (&json!("POST"), &json!(true)));
    assert_eq!(request["url"], endpoint.url());
    assert_eq!(request["body"], event.payload());
    let headers = request["headers"].as_object().unwrap();
    let names = headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    let mut expected: std::collections::BTreeMap<String, Value> =
        endpoint.requests()[1].headers.clone().into_iter().map(|(k, v)| (k, v.into())).collect();
    expected.insert("authorization".into(), "***".into());
    assert_eq!(names.collect::<std::collections::BTreeMap<_, _>>(), expected);
    assert!(headers.contains_key("X-Sentimatrix-Signature"), "spelled as sent");
    let attempts = shown["data"]["attempts"].as_array().unwrap();
    assert_eq!(
        (&attempts[0]["status_code"], &attempts[1]["status_code"]),
        (&json!(500), &json!(200))
    );
    assert_eq!(attempts[0]["error"], "Internal Server Error");
    assert_eq!(attempts[1]["response_body"], "OK");
    assert!(attempts[1]["address"].as_str().unwrap().starts_with("127.0.0.1:"));

    // What the webhook's owner has changed since is not what was sent.
    let change = json!({ "headers": { "x-own": "other" } });
    assert_eq!(studio.call("PATCH", &path, &token, Some(&change)).await.0, 200);
    let (_, shown) = studio.call("GET", &detail, &token, None).await;
    let request = &shown["data"]["request"];
    assert_eq!((&request["complete"], &request["url"]), (&json!(false), &json!(null)));
    assert!(request["headers"].get("X-Own").is_none() && request["headers"].get("Host").is_none());
    assert_eq!(request["headers"]["X-Sentimatrix-Attempt"], "2");
}

on_both!(
    one_log_shows_the_request_as_the_endpoint_received_it,
    every_operation_answers_as_specified,
    another_users_webhook_does_not_exist,
    tokens_and_roles_are_respected,
    everything_wrong_is_named_at_once,
);
