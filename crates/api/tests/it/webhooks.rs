//! The operations on webhooks: shapes and statuses of the specification.

use std::time::Duration;

use broker::{ControlMessage, ControlSignal};
use reqwest::Method;
use serde_json::json;

use crate::logs::{outcome, waiting};
use crate::studio::Studio;

const URL: &str = "https://hooks.slack.com/services/xxx";

#[tokio::test]
async fn a_created_webhook_is_answered_as_the_specification_shows() {
    let studio = Studio::start().await;
    let body = json!({
        "name": "Slack Notifications",
        "url": URL,
        "events": ["scrape.completed", "analysis.completed"],
        "project_ids": ["proj_abc123"],
        "headers": { "X-Custom-Header": "value", "Authorization": "Bearer of mine" },
    });
    let answer = studio.user("usr_1").post("/v1/webhooks", body).await.expect(201);
    answer.assert_begins_with(&["id", "name", "url", "events", "secret", "active", "created_at"]);
    let data = answer.data();
    assert!(data["id"].as_str().unwrap().starts_with("wh_"));
    assert_eq!(data["name"], "Slack Notifications");
    assert_eq!(data["url"], URL);
    assert_eq!(data["events"], json!(["scrape.completed", "analysis.completed"]));
    assert_eq!(data["active"], true);
    assert_eq!(data["project_ids"], json!(["proj_abc123"]));
    assert_eq!(data["headers"]["X-Custom-Header"], "value");
    assert_eq!(data["headers"]["Authorization"], "***", "credentials are never shown");
    let secret = data["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 6 + 32, "{secret}");
    let created = data["created_at"].as_str().unwrap();
    assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
}

#[tokio::test]
async fn a_list_masks_secrets_and_shows_how_webhooks_are_doing() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let body =
        json!({ "name": "n", "url": URL, "events": ["scrape.*"], "secret": "my_webhook_secret" });
    let made = user.post("/v1/webhooks", body).await.expect(201);
    assert_eq!(made.data()["secret"], "my_webhook_secret", "whole once");
    let answer = user.get("/v1/webhooks").await.expect(200);
    answer.assert_begins_with(&[
        "id",
        "name",
        "url",
        "events",
        "active",
        "secret",
        "created_at",
        "last_triggered_at",
        "success_rate",
    ]);
    let first = &answer.data()[0];
    assert_eq!(first["secret"], "whsec_...ret");
    assert_eq!(first["last_triggered_at"], json!(null));
    assert_eq!(first["success_rate"], json!(null));
    assert!(!answer.text.contains("my_webhook_secret"));
    let pagination = &answer.json()["meta"]["pagination"];
    let expected = json!({
        "page": 1, "limit": 20, "total": 1, "total_pages": 1,
        "has_next": false, "has_prev": false, "total_capped": false, "next_cursor": null,
    });
    assert_eq!(*pagination, expected);
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    for (name, events) in [("one", "scrape.*"), ("two", "project.created"), ("three_%", "*")] {
        let body = json!({ "name": name, "url": URL, "events": [events], "active": name != "two" });
        user.post("/v1/webhooks", body).await.expect(201);
    }
    let names = async |query: &str| -> Vec<String> {
        let answer = user.get(&format!("/v1/webhooks?{query}")).await.expect(200);
        let list = answer.data().as_array().unwrap().clone();
        list.iter().map(|w| w["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, ["three_%", "two", "one"], "newest first");
    assert_eq!(names("page=2&limit=2").await, ["one"]);
    assert_eq!(names("page=3&limit=2").await, Vec::<String>::new());
    assert_eq!(names("active=false").await, ["two"]);
    assert_eq!(names("event=scrape.failed").await, ["three_%", "one"]);
    assert_eq!(names("search=%25").await, ["three_%"], "no wildcard");
    assert_eq!(names("search=SLACK").await.len(), 3);
    let page = user.get("/v1/webhooks?page=2&limit=1").await.json();
    assert_eq!(page["meta"]["pagination"]["has_next"], true);
    assert_eq!(page["meta"]["pagination"]["has_prev"], true);
    assert_eq!(page["meta"]["pagination"]["total_pages"], 3);
    let cursor = page["meta"]["pagination"]["next_cursor"].as_str().unwrap();
    let body = json!({ "name": "four", "url": URL, "events": ["*"] });
    user.post("/v1/webhooks", body).await.expect(201);
    assert_eq!(names(&format!("cursor={cursor}")).await, ["one"], "what came moves nothing");
    assert_eq!(names(&format!("cursor={cursor}&page=7&search=two")).await, Vec::<String>::new());
    for wrong in ["", "x", "d", &cursor[1..], &format!("{cursor}A"), &cursor.replace('w', "d")] {
        let answer = user.get(&format!("/v1/webhooks?cursor={wrong}")).await.expect(422);
        assert_eq!(answer.fields(), ["cursor"], "{wrong}");
    }
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook(URL).await;
    let path = format!("/v1/webhooks/{id}");
    let body = json!({ "name": "Updated Name", "events": ["scrape.completed"], "active": false });
    let answer = user.put(&path, body).await.expect(200);
    answer.assert_begins_with(&["id", "name", "active", "updated_at"]);
    let data = answer.data();
    assert_eq!(data["id"], id.as_str());
    assert_eq!(data["name"], "Updated Name");
    assert_eq!(data["active"], false);
    assert!(data["secret"].as_str().unwrap().starts_with("whsec_..."));

    let patch = Some(json!({ "description": "for sales" }).to_string());
    user.send(Method::PATCH, &path, patch).await.expect(200);
    let now = user.get(&path).await.expect(200).data();
    assert_eq!(now["name"], "Updated Name");
    assert_eq!(now["url"], URL);
    assert_eq!(now["events"], json!(["scrape.completed"]));
    assert_eq!(now["description"], "for sales");
    user.put(&path, json!({ "description": null })).await.expect(200);
    assert_eq!(user.get(&path).await.data()["description"], json!(null));
}

#[tokio::test]
async fn a_filter_and_a_rate_limit_are_kept_as_written_until_null_removes_them() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let written = r#"{"n":{"$gt":12345678901234567890123},"a.b":0.10}"#;
    let body = format!(
        r#"{{"name":"n","url":"{URL}","events":["*"],"rate_limit":5,"filter": {written} }}"#
    );
    let made = user.send(Method::POST, "/v1/webhooks", Some(body)).await.expect(201);
    assert!(made.text.contains(&format!(r#""filter":{written},"rate_limit":5"#)), "{}", made.text);
    let path = format!("/v1/webhooks/{}", made.data()["id"].as_str().unwrap());
    user.put(&path, json!({ "name": "other" })).await.expect(200);
    let kept = user.get(&path).await;
    assert!(kept.text.contains(written), "{}", kept.text);
    assert_eq!(kept.data()["rate_limit"], 5);
    let changed = user.put(&path, json!({ "filter": { "s": "x" }, "rate_limit": 1_000 })).await;
    assert_eq!(changed.expect(200).data()["filter"], json!({ "s": "x" }));
    user.put(&path, json!({ "filter": null, "rate_limit": null })).await.expect(200);
    let data = user.get(&path).await.data();
    assert_eq!((&data["filter"], &data["rate_limit"]), (&json!(null), &json!(null)));
    let stored = studio.store.find_webhook(data["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(stored.unwrap().unwrap().filter, None);
}

#[tokio::test]
async fn a_webhook_is_ordered_when_its_owner_says_so() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let plain = user.webhook(URL).await;
    assert_eq!(user.get(&format!("/v1/webhooks/{plain}")).await.data()["ordered"], false);
    let body = json!({ "name": "n", "url": URL, "events": ["*"], "ordered": true });
    let made = user.post("/v1/webhooks", body).await.expect(201).data();
    assert_eq!(made["ordered"], true);
    assert!(studio.store.any_ordered().await.unwrap());
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    assert_eq!(user.put(&path, json!({ "name": "m" })).await.expect(200).data()["ordered"], true);
    assert_eq!(user.get("/v1/webhooks").await.data()[0]["ordered"], true);
    let off = Some(json!({ "ordered": false }).to_string());
    let changed = user.send(Method::PATCH, &path, off).await.expect(200);
    assert_eq!(changed.data()["ordered"], false);
    let trail = user.get("/v1/audit?action=webhook.update").await.expect(200).data();
    assert_eq!((&trail[0]["fields"], &trail[1]["fields"]), (&json!(["ordered"]), &json!(["name"])));
    assert!(!studio.store.any_ordered().await.unwrap());
}

#[tokio::test]
async fn a_webhook_by_itself_shows_what_waits_for_its_endpoint() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook(URL).await;
    let path = format!("/v1/webhooks/{id}");
    let nothing = user.get(&path).await.expect(200).data();
    assert_eq!(nothing.get("backlog"), Some(&json!(null)));
    let began = 1_770_033_600_000_000; // 2026-02-02T12:00:00Z
    let all = ["evt_2", "evt_1"].map(|event| waiting(&id, event, began));
    studio.store.record(&all).await.unwrap();
    let shown = user.get(&path).await.expect(200).data();
    let mut expected = json!({
        "waiting": 2,
        "waiting_capped": false,
        "since": "2026-02-02T12:00:00Z",
        "endpoint_silent_since": null,
    });
    assert_eq!(shown["backlog"], expected);
    let silent = time::OffsetDateTime::from_unix_timestamp(1_770_033_630).unwrap();
    studio.store.mark_silent(id.parse().unwrap(), Some(silent)).await.unwrap();
    expected["endpoint_silent_since"] = json!("2026-02-02T12:00:30Z");
    assert_eq!(user.get(&path).await.data()["backlog"], expected);
    assert_eq!(user.get("/v1/webhooks").await.data()[0].get("backlog"), None, "not in lists");
    let ended = ["evt_1", "evt_2"].map(|event| outcome(&id, event, 1, 200, true));
    studio.store.record(&ended).await.unwrap();
    assert_eq!(user.get(&path).await.data()["backlog"], json!(null));
}

#[tokio::test]
async fn a_deleted_webhook_is_gone() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook(URL).await);
    let answer = user.delete(&path).await.expect(204);
    assert_eq!(answer.text, "");
    assert_eq!(user.delete(&path).await.expect(404).code(), "NOT_FOUND");
    assert_eq!(user.get(&path).await.expect(404).code(), "NOT_FOUND");
    assert_eq!(user.get("/v1/webhooks").await.data(), json!([]));
}

#[tokio::test]
async fn of_those_who_race_for_the_last_place_one_gets_it() {
    let config = api::ApiConfig { max_webhooks: 2, rate_limit: 0, ..Default::default() };
    let studio = Studio::start_with(config).await;
    let user = studio.user("usr_1");
    let body = json!({ "name": "n", "url": URL, "events": ["*"] });
    let (a, b, c) = tokio::join!(
        user.post("/v1/webhooks", body.clone()),
        user.post("/v1/webhooks", body.clone()),
        user.post("/v1/webhooks", body.clone()),
    );
    let mut statuses = [a.status, b.status, c.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 409]);
    let refused = [a, b, c].into_iter().find(|answer| answer.status == 409).unwrap();
    assert_eq!(refused.code(), "CONFLICT");
    studio.user("usr_2").post("/v1/webhooks", body).await.expect(201);
}

#[tokio::test]
async fn a_rotated_secret_is_shown_once_and_the_old_one_signs_on() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook(URL).await;
    let path = format!("/v1/webhooks/{id}/rotate-secret");
    let stored = async || {
        let user = "usr_1".parse().unwrap();
        studio.store.webhook(&user, id.parse().unwrap()).await.unwrap().webhook
    };
    let old = stored().await.secret.expose().to_owned();
    let answer = user.send(Method::POST, &path, None).await.expect(200);
    let new = answer.data()["secret"].as_str().unwrap().to_owned();
    let webhook = stored().await;
    assert_ne!(new, old);
    assert_eq!(webhook.secret.expose(), new);
    let (previous, until) = webhook.previous_secret.unwrap();
    assert_eq!(previous.expose(), old);
    let left = until - time::OffsetDateTime::now_utc();
    assert!((86_300..=86_400).contains(&left.whole_seconds()), "{left}");

    user.post(&path, json!({ "grace_seconds": 0 })).await.expect(200);
    assert!(stored().await.previous_secret.is_none(), "at once");
    for wrong in [json!(-1), json!(1.5), json!("1"), json!(604_801)] {
        let answer = user.post(&path, json!({ "grace_seconds": wrong })).await.expect(422);
        assert_eq!(answer.fields(), ["grace_seconds"]);
    }
}

#[tokio::test]
async fn every_change_is_announced() {
    let studio = Studio::start().await;
    let mut announced = studio.broker.control();
    let user = studio.user("usr_1");
    let id = user.webhook(URL).await;
    let path = format!("/v1/webhooks/{id}");
    user.put(&path, json!({ "name": "other" })).await.expect(200);
    user.send(Method::POST, &format!("{path}/rotate-secret"), None).await.expect(200);
    user.delete(&path).await.expect(204);
    let mut next = async || {
        loop {
            let signal = tokio::time::timeout(Duration::from_secs(5), announced.next());
            match signal.await.expect("a signal within 5 s") {
                // Whoever begins to listen may have missed something: that is no announcement.
                Some(ControlSignal::Gap) => {}
                Some(ControlSignal::Message(message)) => return message,
                None => panic!("the broker is open"),
            }
        }
    };
    let expected = ControlMessage::webhook_changed(&"usr_1".parse().unwrap(), id.parse().unwrap());
    for change in ["created", "updated", "rotated", "deleted"] {
        assert_eq!(next().await, expected, "{change}");
    }
}

#[tokio::test]
async fn the_catalogue_lists_every_type_with_an_example_and_a_schema() {
    let studio = Studio::start().await;
    let answer = studio.user("usr_1").get("/v1/webhooks/events").await.expect(200);
    let list = answer.data().as_array().unwrap().clone();
    assert_eq!(list.len(), 12);
    assert_eq!(list[2]["event"], "scrape.completed");
    assert_eq!(list[2]["description"], "Scraping job completed");
    assert_eq!(list[2]["example"]["results_count"], 150);
    assert_eq!(list[2]["schema"]["required"], json!(["project_id", "job_id"]));
    assert_eq!(list[2]["schema"]["properties"]["results_count"]["type"], "integer");
    assert!(answer.text.contains("-0.20"), "numbers stay as they are written");
}
