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
        ("name", json!("x".repeat(60_000)), "name"),
        ("name", json!(["n"]), "name"),
        ("url", json!("x".repeat(60_000)), "url"),
        ("url", json!(null), "url"),
        ("events", json!(["x".repeat(60_000)]), "events[0]"),
        ("events", json!(["*", null]), "events[1]"),
        ("events", json!(["scrape.completed\u{0}"]), "events[0]"),
        ("events", json!(["' OR 1=1--"]), "events[0]"),
        ("events", json!({ "0": "*" }), "events"),
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
        ("project_ids", json!(["p\u{0}"]), "project_ids[0]"),
        ("project_ids", json!([""]), "project_ids[0]"),
        ("project_ids", json!(["x".repeat(60_000)]), "project_ids[0]"),
        ("project_ids", many(101), "project_ids"),
        ("project_ids", many(1_000), "project_ids"),
        ("headers", json!([]), "headers"),
        ("headers", headers("Host", "x"), "headers.Host"),
        ("headers", headers("X-Sentimatrix-Event", "x"), "headers.X-Sentimatrix-Event"),
        ("headers", headers("a b", "x"), "headers.a b"),
        ("headers", headers("X-A", "a\r\nHost: b"), "headers.X-A"),
        ("headers", headers("X-A", "***"), "headers.X-A"),
        ("secret", json!("1234567"), "secret"),
        ("secret", json!("x".repeat(257)), "secret"),
        ("secret", json!("x".repeat(60_000)), "secret"),
        ("secret", json!("12345678\n"), "secret"),
        ("secret", json!("1234567\u{0}"), "secret"),
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
        ("ordered", json!("true"), "ordered"),
        ("ordered", json!(null), "ordered"),
        ("active", json!("true"), "active"),
        ("active", json!(1), "active"),
        ("description", json!(1), "description"),
        ("description", json!("x".repeat(1_001)), "description"),
        ("metadata", json!(["a"]), "metadata"),
        ("metadata", json!({ "a": 1 }), "metadata.a"),
        ("metadata", json!({ "": "x" }), "metadata."),
        ("metadata", json!({ "a": "x".repeat(501) }), "metadata.a"),
        ("metadata", json!({ "a": "x\u{0}" }), "metadata.a"),
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
async fn each_bad_header_is_refused_by_its_name() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}", user.webhook("https://example.com/").await);
    let reserved = "Host Content-Length Content-Type Content-Encoding Transfer-Encoding TE Trailer
        Connection Keep-Alive Proxy-Authorization Proxy-Connection Upgrade Expect HTTP2-Settings
        User-Agent X-Sentimatrix-Signature X-Sentimatrix-Anything Webhook-Id webhook-signature
        traceparent tracestate X-Forwarded-For X-Forwarded-Host Forwarded X-Real-IP Metadata
        X-aws-ec2-metadata-token X-aws-ec2-metadata-token-ttl-seconds X-Google-Metadata-Request
        X-Amz-Date";
    let malformed = ["a b", "a:", "", "é", ":path", "a\r\nb", "a\u{0}", "a(b)", "\u{7f}"];
    let refused = async |headers: Value, named: &str| {
        let answer = user.post("/v1/webhooks", with("headers", headers.clone())).await.expect(422);
        assert_eq!(answer.fields(), [named], "creation: {headers}");
        let answer = user.put(&path, json!({ "headers": headers })).await.expect(422);
        assert_eq!(answer.fields(), [named], "change: {headers}");
    };
    let long = "x".repeat(129);
    for name in reserved.split_whitespace().chain(malformed).chain([long.as_str()]) {
        for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
            refused(json!({ &name: "v" }), &format!("headers.{name}")).await;
        }
    }
    for value in ["a\rb", "a\nb", "a\u{0}b", "a\u{7f}b", "é", "\u{202e}", &"x".repeat(4_097)] {
        refused(json!({ "X-A": value }), "headers.X-A").await;
    }
    for value in [json!(1), json!(null), json!(["a"])] {
        refused(json!({ "X-A": value }), "headers.X-A").await;
        refused(json!({ "X-A": { "value": value } }), "headers.X-A.value").await;
    }
    refused(json!({ "X-A": {} }), "headers.X-A.value").await;
    refused(json!({ "X-A": "1", "x-a": "2" }), "headers.x-a").await;
    let of = |count: usize, length: usize| -> Value {
        let all = (0..count).map(|i| (format!("X-{i:02}"), Value::from("v".repeat(length))));
        all.collect::<serde_json::Map<_, _>>().into()
    };
    refused(of(21, 1), "headers").await;
    refused(of(3, 4_000), "headers").await;
    for good in
        [of(20, 400), json!({ "Authorization": "Bearer x", "X-Own": "", "a!#$%&'*+.^_`|~": "v" })]
    {
        user.put(&path, json!({ "headers": good })).await.expect(200);
    }
    let listed = user.get("/v1/webhooks").await.data();
    assert_eq!(listed.as_array().unwrap().len(), 1, "nothing was made");
}

#[tokio::test]
async fn what_could_be_taken_for_a_command_finds_nothing_or_is_named() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let id = user.webhook("https://example.com/").await;
    for strange in
        ["%27%20OR%201%3D1--", "%22%3B%20DROP", "%25", "_", "%5C", "%E2%80%AE", "%F0%9F%A6%80"]
    {
        let found = user.get(&format!("/v1/webhooks?search={strange}")).await.expect(200);
        assert_eq!(found.data(), json!([]), "{strange}");
        for (path, field) in [
            ("/v1/webhooks".to_owned(), "event"),
            ("/v1/webhooks".to_owned(), "active"),
            (format!("/v1/webhooks/{id}/logs"), "status"),
            (format!("/v1/webhooks/{id}/logs"), "event"),
            (format!("/v1/webhooks/{id}/logs"), "since"),
            (format!("/v1/webhooks/{id}/logs"), "cursor"),
        ] {
            let answer = user.get(&format!("{path}?{field}={strange}")).await.expect(422);
            assert_eq!(answer.fields(), [field], "{path} {strange}");
        }
    }
    for (query, field) in
        [("search=%00", "search"), ("search=a%00b", "search"), ("active=%00", "active")]
    {
        let answer = user.get(&format!("/v1/webhooks?{query}")).await.expect(422);
        assert_eq!(answer.fields(), [field], "{query}");
    }
    let long = format!("/v1/webhooks?search={}", "x".repeat(201));
    assert_eq!(user.get(&long).await.expect(422).fields(), ["search"]);
    for half in ["%FF", "%ED%A0%80", "%"] {
        let answer = user.get(&format!("/v1/webhooks?search={half}")).await;
        assert!(matches!(answer.status, 200 | 422), "{half}: {}", answer.text);
    }
    for (i, id) in ["\\", "\";DROP", "' OR 1=1--"].into_iter().enumerate() {
        let mut ids = vec!["p1", "p2"];
        ids.insert(i % 2, id);
        let refused = user.post("/v1/webhooks", with("project_ids", json!(ids))).await.expect(422);
        assert_eq!(refused.fields(), [format!("project_ids[{}]", i % 2)], "{id}");
    }
    let ids = json!(["'--", "%", "_", "1;DROP", "../p"]);
    let made = user.post("/v1/webhooks", with("project_ids", ids.clone())).await.expect(201);
    assert_eq!(made.data()["project_ids"], ids, "verbatim");
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
