//! Every wrong field is named, all of them at once.

use serde_json::{Value, json};

use crate::studio::Studio;

/// A good webhook with one field replaced.
fn with(field: &str, value: Value) -> Value {
    let mut body = json!({ "name": "n", "url": "https://example.com/hook", "events": ["*"] });
    body[field] = value;
    body
}

#[tokio::test]
async fn each_bad_value_is_refused_by_the_name_of_its_field() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    let headers = |name: &str, value: &str| json!({ name: value });
    let many = |n: usize| Value::from((0..n).map(|i| format!("p{i}")).collect::<Vec<_>>());
    for (field, value, named) in [
        ("name", json!(""), "name"),
        ("name", json!("   "), "name"),
        ("name", json!("x".repeat(101)), "name"),
        ("name", json!(7), "name"),
        ("name", json!(null), "name"),
        ("name", json!("a\u{0}b"), "name"),
        ("url", json!(""), "url"),
        ("url", json!("example.com"), "url"),
        ("url", json!("ftp://example.com/"), "url"),
        ("url", json!("javascript:1"), "url"),
        ("url", json!("http://user:pw@example.com/"), "url"),
        ("url", json!("http://10.0.0.1/"), "url"),
        ("url", json!("http://2852039166/"), "url"),
        ("url", json!("http://[::ffff:169.254.169.254]/"), "url"),
        ("url", json!("http://example.com:22/"), "url"),
        ("url", json!("http://example.com/ "), "url"),
        ("url", json!(format!("https://example.com/{}", "x".repeat(2_048))), "url"),
        ("url", json!(["https://example.com/"]), "url"),
        ("events", json!([]), "events"),
        ("events", json!("*"), "events"),
        ("events", json!(["scrape.exploded"]), "events[0]"),
        ("events", json!(["*", "scrape"]), "events[1]"),
        ("events", json!(["*", "*"]), "events[1]"),
        ("events", json!([1]), "events[0]"),
        ("events", many(13), "events"),
        ("project_ids", json!("p"), "project_ids"),
        ("project_ids", json!(["a b"]), "project_ids[0]"),
        ("project_ids", json!(["p", "p"]), "project_ids[1]"),
        ("project_ids", json!(["p", null]), "project_ids[1]"),
        ("project_ids", many(101), "project_ids"),
        ("headers", json!([]), "headers"),
        ("headers", headers("Host", "x"), "headers.Host"),
        ("headers", headers("X-Sentimatrix-Event", "x"), "headers.X-Sentimatrix-Event"),
        ("headers", headers("a b", "x"), "headers.a b"),
        ("headers", headers("X-A", "a\r\nHost: b"), "headers.X-A"),
        ("headers", headers("X-A", "***"), "headers.X-A"),
        ("secret", json!("1234567"), "secret"),
        ("secret", json!("x".repeat(257)), "secret"),
        ("secret", json!(12_345_678), "secret"),
        ("secret", json!("whsec_...xyz"), "secret"),
        ("filter", json!([]), "filter"),
        ("filter", json!({}), "filter"),
        ("filter", json!({ "a": { "$regex": "x" } }), "filter.a.$regex"),
        ("filter", json!({ "$or": [{ "a": 1 }, { "b": { "$in": 7 } }] }), "filter.$or[1].b.$in"),
        ("filter", json!({ "a": "x".repeat(4_096) }), "filter"),
        ("rate_limit", json!(0), "rate_limit"),
        ("rate_limit", json!(-1), "rate_limit"),
        ("rate_limit", json!(1_001), "rate_limit"),
        ("rate_limit", json!(1.5), "rate_limit"),
        ("rate_limit", json!("5"), "rate_limit"),
        ("active", json!("true"), "active"),
        ("active", json!(1), "active"),
        ("description", json!(1), "description"),
        ("description", json!("x".repeat(1_001)), "description"),
        ("metadata", json!(["a"]), "metadata"),
        ("metadata", json!({ "a": 1 }), "metadata.a"),
        ("metadata", json!({ "": "x" }), "metadata."),
        ("id", json!("wh_1"), "id"),
        ("user_id", json!("usr_2"), "user_id"),
        ("success_rate", json!(1), "success_rate"),
    ] {
        let answer = user.post("/v1/webhooks", with(field, value.clone())).await.expect(422);
        assert_eq!(answer.fields(), [named], "creation: {field} {value}");
        let mut change = json!({});
        change[field] = value.clone();
        let answer = user.put(&format!("/v1/webhooks/{id}"), change).await.expect(422);
        assert_eq!(answer.fields(), [named], "change: {field} {value}");
    }
    let listed = user.get("/v1/webhooks").await.data();
    assert_eq!(listed.as_array().unwrap().len(), 1, "nothing was made");
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let missing = user.post("/v1/webhooks", json!({})).await.expect(422);
    assert_eq!(missing.fields(), ["name", "url", "events"]);
    let body = json!({
        "name": 1, "url": "nothing", "events": ["x", "*", "y"], "headers": { "Host": "a", "TE": "b" },
        "colour": "red",
    });
    let answer = user.post("/v1/webhooks", body).await.expect(422);
    let expected =
        ["name", "url", "events[0]", "events[2]", "headers.Host", "headers.TE", "colour"];
    assert_eq!(answer.fields(), expected);
}

#[tokio::test]
async fn what_is_strange_and_allowed_comes_back_as_it_was() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    for name in ["' OR 1=1--", "\"; DROP TABLE webhooks", "%_\\", "\u{202e}abc", "🦀 é"] {
        let made = user.post("/v1/webhooks", with("name", json!(name))).await.expect(201).data();
        let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
        assert_eq!(user.get(&path).await.data()["name"], name);
    }
    let longest = with("name", json!("é".repeat(100)));
    user.post("/v1/webhooks", longest).await.expect(201);
}

#[tokio::test]
async fn an_answer_never_repeats_a_secret_that_was_refused() {
    let studio = Studio::start().await;
    let secret = "correct-horse-".repeat(40);
    let body = with("secret", json!(secret));
    let answer = studio.user("usr_1").post("/v1/webhooks", body).await.expect(422);
    assert!(!answer.text.contains("correct-horse"), "{}", answer.text);
}
