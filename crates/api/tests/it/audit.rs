//! The audit trail: a row for every change, shown to whom it concerns.

use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::studio::{Caller, Studio};

async fn trail(caller: &Caller<'_>, query: &str) -> Vec<Value> {
    caller.get(&format!("/v1/audit{query}")).await.expect(200).data().as_array().unwrap().clone()
}

fn actions(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["action"].as_str().unwrap()).collect()
}

/// Every operation that may change something, as the document describes it: method, path, name
/// and the example of its body.
fn changing_operations() -> Vec<(Method, String, String, Option<Value>)> {
    let document: Value = serde_json::from_str(api::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method == "get" || !operation.is_object() {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let name = operation["operationId"].as_str().unwrap().to_owned();
            let content = &operation["requestBody"]["content"]["application/json"];
            found.push((method, path.clone(), name, content.get("example").cloned()));
        }
    }
    found
}

#[tokio::test]
async fn every_operation_that_changes_something_leaves_its_row() {
    let studio = Studio::start().await;
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let boss = studio.with_roles("usr_boss", &["user", "admin"]);
    let operations = changing_operations();
    assert!(operations.len() >= 11, "{operations:?}");
    for (method, path, name, body) in operations {
        // Events have ids, a history and a log of their own (docs/api.md).
        if name == "publishEvent" {
            continue;
        }
        let id = boss.webhook(&endpoint.url()).await;
        let on = format!("/v1/webhooks/{id}");
        let tested = boss.send(Method::POST, &format!("{on}/test"), None).await.expect(200).data();
        let range = json!({ "since": "2026-01-01T00:00:00Z" });
        let job = boss.post(&format!("{on}/replay"), range).await.expect(202).data();
        let path = path
            .replace("{webhook_id}", &id)
            .replace("{log_id}", tested["log_id"].as_str().unwrap())
            .replace("{job_id}", job["id"].as_str().unwrap())
            .replace("{user_id}", "usr_other");
        let answer = boss.send(method.clone(), &path, body.map(|body| body.to_string())).await;
        assert!((200..300).contains(&answer.status), "{name}: {}", answer.text);
        let request = answer.header("x-request-id").to_owned();
        let rows = trail(&boss, "?limit=100").await;
        let rows: Vec<&Value> = rows.iter().filter(|row| row["request_id"] == *request).collect();
        let [row] = rows.as_slice() else { panic!("{name} left {} rows", rows.len()) };
        assert_eq!((&row["actor"], &row["via"]), (&json!("usr_boss"), &json!("api")), "{name}");
        assert_eq!(row["address"], "127.0.0.1", "{name}");
        assert!(row["object"]["id"].as_str().is_some_and(|id| !id.is_empty()), "{name}");
        // Room for the jobs of the next.
        let cancel = format!("{on}/jobs/{}/cancel", job["id"].as_str().unwrap());
        drop(boss.send(Method::POST, &cancel, None).await);
        if name == "redeliverRange" || name == "replayRange" {
            let job = answer.data()["id"].as_str().unwrap().to_owned();
            let cancel = format!("{on}/jobs/{job}/cancel");
            boss.send(Method::POST, &cancel, None).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_user_sees_what_an_admin_did_for_them_and_not_where_from() {
    let studio = Studio::start().await;
    let (user, admin) = (studio.user("usr_1"), studio.with_roles("usr_boss", &["admin"]));
    let id = user.webhook("https://example.com/").await;
    let change = json!({ "name": "other", "active": false });
    admin.put(&format!("/v1/webhooks/{id}?user_id=usr_1"), change).await.expect(200);
    admin.webhook("https://example.com/").await;

    let own = trail(&user, "").await;
    assert_eq!(actions(&own), ["webhook.update", "webhook.create"]);
    assert_eq!(own[0]["fields"], json!(["name", "active"]));
    assert_eq!((&own[0]["actor"], &own[0]["user_id"]), (&json!("usr_boss"), &json!("usr_1")));
    assert_eq!(own[0]["object"], json!({ "kind": "webhook", "id": id }));
    for field in ["address", "token_id", "request_id"] {
        assert!(own[0][field].is_null(), "{field}");
    }
    assert_eq!(own[1]["address"], "127.0.0.1");

    assert_eq!(trail(&admin, "?user_id=usr_1").await.len(), 2);
    assert_eq!(trail(&admin, "?user_id=usr_1").await[0]["address"], "127.0.0.1");
    // Everybody's, the migration of the database included.
    assert_eq!(trail(&admin, "").await.len(), 4);
    assert!(trail(&studio.user("usr_2"), "").await.is_empty());
    user.get("/v1/audit?user_id=usr_boss").await.expect(403);
    studio.stranger().get("/v1/audit").await.expect(401);
    assert_eq!(trail(&studio.with_roles("usr_1", &["readonly"]), "").await.len(), 2);
}

#[tokio::test]
async fn the_trail_is_filtered_and_paged() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let first = user.webhook("https://example.com/").await;
    for _ in 0..3 {
        user.webhook("https://example.com/").await;
    }
    user.delete(&format!("/v1/webhooks/{first}")).await.expect(204);
    assert_eq!(actions(&trail(&user, "?action=webhook.delete").await), ["webhook.delete"]);
    let of_first = trail(&user, &format!("?object={first}")).await;
    assert_eq!(actions(&of_first), ["webhook.delete", "webhook.create"]);
    assert_eq!(trail(&user, "?actor=usr_1&until=2020-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(trail(&user, "?actor=usr_1&since=2020-01-01T00:00:00Z").await.len(), 5);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = user.get(&format!("/v1/audit?limit=2{cursor}")).await.expect(200);
        seen.extend(page.data().as_array().unwrap().iter().map(|row| row["id"].clone()));
        match page.json()["meta"]["pagination"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all: Vec<Value> = trail(&user, "").await.iter().map(|row| row["id"].clone()).collect();
    assert_eq!((seen.len(), seen), (5, all));
    let wrong = user.get("/v1/audit?action=webhook.fly&since=now&object=&nonsense=1").await;
    assert_eq!(wrong.expect(422).fields(), ["action", "object", "since", "nonsense"]);
}

#[tokio::test]
async fn no_value_that_a_user_gives_stands_in_the_trail() {
    const MARK: &str = "marked-value";
    let studio = Studio::start().await;
    let (user, admin) = (studio.user("usr_1"), studio.with_roles("usr_boss", &["admin"]));
    let webhook = json!({
        "name": MARK,
        "description": MARK,
        "url": format!("https://{MARK}.example.com/{MARK}?token={MARK}"),
        "events": ["*"],
        "headers": { format!("X-{MARK}"): MARK, "Authorization": MARK },
        "secret": format!("whsec_{}", "bWFya2VkLXZhbHVlLW1hcmtlZC12YWx1ZQ=="),
        "metadata": { MARK: MARK },
    });
    let made = user.post("/v1/webhooks", webhook.clone()).await.expect(201).data();
    let id = made["id"].as_str().unwrap();
    let mut change = webhook;
    change["name"] = json!(format!("{MARK}-2"));
    change["headers"] = json!({ "Authorization": format!("{MARK}-2") });
    user.put(&format!("/v1/webhooks/{id}"), change).await.expect(200);
    let rotated = user.post(&format!("/v1/webhooks/{id}/rotate-secret"), json!({})).await;
    let secret = rotated.expect(200).data()["secret"].as_str().unwrap().to_owned();
    user.send(Method::POST, &format!("/v1/webhooks/{id}/test"), None).await.expect(200);
    admin.post("/v1/users/usr_1/sign-out", json!({ "jti": MARK })).await.expect(202);
    let shown = admin.get("/v1/audit?limit=100").await.expect(200);
    assert!(shown.data().as_array().unwrap().len() >= 5);
    for value in [MARK, "bWFya2Vk", &secret] {
        assert!(!shown.text.contains(value), "{value}");
    }
}
