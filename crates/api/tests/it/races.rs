//! Two requests at once: one wins, and nobody is told of a fault of ours.

use reqwest::Method;
use serde_json::json;

use crate::studio::Studio;

const URL: &str = "https://example.com/";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_races_with_a_deletion_is_before_it_or_finds_nothing() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    for round in 0..20 {
        let path = format!("/v1/webhooks/{}", user.webhook(URL).await);
        let rotation = format!("{path}/rotate-secret");
        let (update, rotated, read, first, second) = tokio::join!(
            user.put(&path, json!({ "name": "other", "active": false })),
            user.send(Method::POST, &rotation, None),
            user.get(&path),
            user.delete(&path),
            user.delete(&path),
        );
        for answer in [update, rotated, read] {
            assert!(matches!(answer.status, 200 | 404), "round {round}: {}", answer.text);
        }
        let mut deleted = [first.status, second.status];
        deleted.sort_unstable();
        assert_eq!(deleted, [204, 404], "round {round}");
        user.get(&path).await.expect(404);
        assert_eq!(user.get("/v1/webhooks").await.data(), json!([]), "nothing came back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_different_fields_at_once_are_all_kept() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook(URL).await);
    for round in 0..10 {
        let (name, description) = (format!("name {round}"), format!("description {round}"));
        let (a, b, c) = tokio::join!(
            user.put(&path, json!({ "name": name })),
            user.put(&path, json!({ "description": description })),
            user.put(&path, json!({ "filter": { "round": round } })),
        );
        for answer in [a, b, c] {
            answer.expect(200);
        }
        let now = user.get(&path).await.data();
        assert_eq!((&now["name"], &now["description"]), (&json!(name), &json!(description)));
        assert_eq!(now["filter"]["round"], round);
    }
}
