//! Answers kept in memory: whoever reads after a write finds it, and nobody finds another's.

use serde_json::json;

use crate::logs::outcome;
use crate::studio::{Answer, Studio};

const URL: &str = "https://hooks.slack.com/services/xxx";

#[tokio::test]
async fn an_answer_from_memory_differs_in_nothing_but_its_request_id() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    // A text that looks like the place where the id belongs.
    let body = json!({
        "name": "\"request_id\":\"", "url": URL, "events": ["*"],
        "metadata": { "request_id": "mine" },
    });
    let made = user.post("/v1/webhooks", body).await.expect(201);
    let one = format!("/v1/webhooks/{}", made.data()["id"].as_str().unwrap());
    for path in ["/v1/webhooks", one.as_str()] {
        let [first, again] = [user.get(path).await.expect(200), user.get(path).await.expect(200)];
        assert_ne!(request_id(&first), request_id(&again));
        for answer in [&first, &again] {
            assert_eq!(request_id(answer), answer.header("x-request-id"), "{}", answer.text);
        }
        assert_eq!(first.text.replace(&request_id(&first), &request_id(&again)), again.text);
        assert_eq!(first.header("content-type"), again.header("content-type"));
    }
}

#[tokio::test]
async fn every_write_is_seen_by_the_next_read() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook(URL).await;
    let one = format!("/v1/webhooks/{id}");
    let names = async || {
        let (list, one) = (user.get("/v1/webhooks").await, user.get(&one).await);
        (list.expect(200).data()[0]["name"].clone(), one.expect(200).data()["name"].clone())
    };
    for round in 0..50 {
        let name = json!(format!("name {round}"));
        names().await;
        user.put(&one, json!({ "name": name })).await.expect(200);
        assert_eq!(names().await, (name.clone(), name));
    }
    let second = user.webhook(URL).await;
    assert_eq!(user.get("/v1/webhooks").await.expect(200).data().as_array().unwrap().len(), 2);
    user.delete(&one).await.expect(204);
    user.get(&one).await.expect(404);
    assert_eq!(user.get("/v1/webhooks").await.expect(200).data()[0]["id"], json!(second));
}

#[tokio::test]
async fn a_delivery_recorded_by_the_dispatcher_is_seen_by_the_next_read() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook(URL).await;
    let path = format!("/v1/webhooks/{id}");
    assert_eq!(user.get(&path).await.expect(200).data()["last_triggered_at"], json!(null));
    studio.store.record(&[outcome(&id, "evt_1", 1, 200, true)]).await.unwrap();
    let seen = user.get(&path).await.expect(200).data();
    assert!(seen["last_triggered_at"].is_string(), "{seen}");
}

#[tokio::test]
async fn what_is_kept_for_one_is_never_answered_to_another() {
    let studio = Studio::start().await;
    let (mine, other) = (studio.user("usr_1"), studio.user("usr_2"));
    let id = mine.webhook(URL).await;
    let path = format!("/v1/webhooks/{id}");
    for _ in 0..2 {
        mine.get(&path).await.expect(200);
        assert_eq!(mine.get("/v1/webhooks").await.expect(200).data()[0]["id"], json!(id));
        other.get(&path).await.expect(404);
        assert_eq!(other.get("/v1/webhooks").await.expect(200).data(), json!([]));
    }
    let admin = studio.with_roles("usr_3", &["admin"]);
    assert_eq!(admin.get("/v1/webhooks?user_id=usr_1").await.data()[0]["id"], json!(id));
    assert_eq!(admin.get("/v1/webhooks?user_id=usr_2").await.data(), json!([]));
    // The same target, by one who may not act for others.
    assert_ne!(other.get("/v1/webhooks?user_id=usr_1").await.status, 200);
}

fn request_id(answer: &Answer) -> String {
    answer.json()["meta"]["request_id"].as_str().unwrap().to_owned()
}
