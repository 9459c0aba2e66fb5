//! Who may do what.

use reqwest::Method;
use serde_json::json;

use crate::studio::{Studio, token};

fn webhook() -> serde_json::Value {
    json!({ "name": "n", "url": "https://example.com/", "events": ["*"] })
}

#[tokio::test]
async fn without_a_right_token_every_route_says_401() {
    let studio = Studio::start().await;
    let id = format!("wh_{}", "0".repeat(32));
    for (method, path) in [
        (Method::GET, "/v1/webhooks".to_owned()),
        (Method::POST, "/v1/webhooks".to_owned()),
        (Method::GET, "/v1/webhooks/events".to_owned()),
        (Method::GET, format!("/v1/webhooks/{id}")),
        (Method::PUT, format!("/v1/webhooks/{id}")),
        (Method::PATCH, format!("/v1/webhooks/{id}")),
        (Method::DELETE, format!("/v1/webhooks/{id}")),
        (Method::POST, format!("/v1/webhooks/{id}/test")),
        (Method::POST, format!("/v1/webhooks/{id}/rotate-secret")),
        (Method::GET, format!("/v1/webhooks/{id}/logs")),
        (Method::GET, format!("/v1/webhooks/{id}/logs/log_1")),
        (Method::POST, format!("/v1/webhooks/{id}/logs/log_1/redeliver")),
        (Method::POST, "/v1/events".to_owned()),
        (Method::GET, "/v1/events/evt_1".to_owned()),
        (Method::POST, "/v1/users/usr_1/sign-out".to_owned()),
    ] {
        let answer = studio.stranger().send(method.clone(), &path, None).await.expect(401);
        assert_eq!(answer.code(), "UNAUTHORIZED", "{method} {path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
}

#[tokio::test]
async fn a_token_has_one_place_and_one_spelling() {
    let studio = Studio::start().await;
    let good = token("usr_1", &["user"]);
    for wrong in [
        format!("bearer {good}"),
        format!("Bearer\t{good}"),
        format!("Bearer  {good}"),
        format!("Bearer {good},Bearer {good}"),
        format!("Bearer {good}x"),
        format!("Basic {good}"),
        good.clone(),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
    ] {
        studio.with_header(&wrong).get("/v1/webhooks").await.expect(401);
    }
    let twice = [("authorization", format!("Bearer {good}"))];
    let twice: Vec<(&str, &str)> = twice.iter().map(|(n, v)| (*n, v.as_str())).collect();
    studio.user("usr_1").send_with(Method::GET, "/v1/webhooks", None, &twice).await.expect(401);
    studio.stranger().get(&format!("/v1/webhooks?token={good}")).await.expect(401);
    studio.user("usr_1").get("/v1/webhooks").await.expect(200);
}

#[tokio::test]
async fn roles_decide_what_a_token_may_do() {
    let studio = Studio::start().await;
    let event = json!({ "event": "scrape.started", "user_id": "usr_1", "data": {} });
    for (roles, read, write, publish) in [
        (vec!["user"], 200, 201, 403),
        (vec!["admin"], 200, 201, 403),
        (vec!["readonly"], 200, 403, 403),
        (vec!["user", "readonly"], 200, 403, 403),
        (vec!["service"], 403, 403, 202),
        (vec!["user", "service"], 200, 201, 202),
        (vec!["emperor"], 403, 403, 403),
        (vec![], 403, 403, 403),
    ] {
        let caller = studio.with_roles("usr_1", &roles);
        let statuses = (
            caller.get("/v1/webhooks").await.status,
            caller.post("/v1/webhooks", webhook()).await.status,
            caller.post("/v1/events", event.clone()).await.status,
        );
        assert_eq!(statuses, (read, write, publish), "{roles:?}");
    }
}

#[tokio::test]
async fn readonly_changes_nothing_on_any_route() {
    let studio = Studio::start().await;
    let id = studio.user("usr_1").webhook("https://example.com/").await;
    let reader = studio.with_roles("usr_1", &["readonly"]);
    let log = format!("log_{}", "0".repeat(32));
    for (method, path) in [
        (Method::PUT, format!("/v1/webhooks/{id}")),
        (Method::PATCH, format!("/v1/webhooks/{id}")),
        (Method::DELETE, format!("/v1/webhooks/{id}")),
        (Method::POST, format!("/v1/webhooks/{id}/test")),
        (Method::POST, format!("/v1/webhooks/{id}/rotate-secret")),
        (Method::POST, format!("/v1/webhooks/{id}/logs/{log}/redeliver")),
    ] {
        let answer = reader.send(method.clone(), &path, Some("{}".to_owned())).await.expect(403);
        assert_eq!(answer.code(), "FORBIDDEN", "{method} {path}");
    }
    reader.get(&format!("/v1/webhooks/{id}")).await.expect(200);
}

#[tokio::test]
async fn only_an_admin_acts_for_another_user() {
    let studio = Studio::start().await;
    let admin = studio.with_roles("usr_admin", &["admin"]);
    let made = admin.post("/v1/webhooks?user_id=usr_1", webhook()).await.expect(201).data();
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    studio.user("usr_1").get(&path).await.expect(200);
    admin.get(&path).await.expect(404);
    admin.get(&format!("{path}?user_id=usr_1")).await.expect(200);
    let listed = admin.get("/v1/webhooks?user_id=usr_1&limit=5").await.expect(200);
    assert_eq!(listed.data().as_array().unwrap().len(), 1);
    studio.user("usr_2").get(&format!("{path}?user_id=usr_1")).await.expect(403);
    let answer = admin.get("/v1/webhooks?user_id=a%20b").await.expect(422);
    assert_eq!(answer.fields(), ["user_id"]);
}
