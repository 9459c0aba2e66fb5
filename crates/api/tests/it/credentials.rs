//! A webhook's own headers that hold credentials: never shown, and never sent to another host than
//! the one that they were given for.

use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::studio::{Answer, Caller, Studio};

/// Makes a webhook with these headers; its path.
async fn made(user: &Caller<'_>, url: &str, headers: Value) -> String {
    let body = json!({ "name": "n", "url": url, "events": ["*"], "headers": headers });
    let made = user.post("/v1/webhooks", body).await.expect(201).data();
    format!("/v1/webhooks/{}", made["id"].as_str().unwrap())
}

async fn patch(user: &Caller<'_>, path: &str, change: Value) -> Answer {
    user.send(Method::PATCH, path, Some(change.to_string())).await
}

#[tokio::test]
async fn credentials_stay_behind_when_the_url_moves_to_another_host() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let (old, new) =
        (Receiver::answering("200 OK", "OK").await, Receiver::answering("200 OK", "OK").await);
    let headers = json!({
        "Authorization": "Bearer mine", "X-Partner-Token": "mine too", "X-Custom-Header": "value",
        "X-Marked": { "value": "and mine", "sensitive": true },
    });
    let path = made(&user, &old.url(), headers).await;
    for change in [json!({ "url": new.url() }), json!({ "url": old.url() })] {
        let answer = patch(&user, &path, change.clone()).await.expect(200);
        if change["url"] == new.url() {
            let removed = json!(["Authorization", "X-Marked", "X-Partner-Token"]);
            assert_eq!(answer.data()["removed_headers"], removed);
        } else {
            assert_eq!(answer.data().get("removed_headers"), None, "there was nothing left");
        }
        assert_eq!(answer.data()["headers"], json!({ "X-Custom-Header": "value" }));
        user.post(&format!("{path}/test"), json!({})).await.expect(200);
    }
    for endpoint in [new, old] {
        let received = endpoint.received();
        assert_eq!(received.len(), 1);
        for name in ["Authorization", "X-Partner-Token", "X-Marked"] {
            assert_eq!(received[0].header(name), "", "{name}");
        }
        assert_eq!(received[0].header("X-Custom-Header"), "value", "no secret: it goes along");
    }
}

#[tokio::test]
async fn what_counts_as_another_host_is_decided_on_the_url_as_it_is_called() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let given = json!({ "Authorization": "Bearer mine" });
    for (before, after, kept) in [
        ("https://example.com/a", "https://example.com/b?c=d#e", true),
        ("https://example.com/a", "HTTPS://EXAMPLE.com:443/a", true),
        ("https://example.com./a", "https://example.com/a", true),
        ("http://example.com/a", "http://example.com:80/a", true),
        ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/", true),
        ("https://example.com:8443/", "https://example.com:8443/x", true),
        ("https://example.com/", "http://example.com/", false),
        ("https://example.com/", "https://example.com:8443/", false),
        ("https://example.com/", "https://example.com.other.example/", false),
        ("https://example.com/", "https://www.example.com/", false),
        ("https://example.com/", "https://example.org/", false),
        ("http://8.8.8.8/", "http://8.8.4.4/", false),
        ("http://8.8.8.8/", "http://134744072/", true),
    ] {
        let path = made(&user, before, given.clone()).await;
        for method in [Method::PUT, Method::PATCH] {
            let change = Some(json!({ "url": after }).to_string());
            let answer = user.send(method.clone(), &path, change).await.expect(200).data();
            let expected = if kept { json!({ "Authorization": "***" }) } else { json!({}) };
            assert_eq!(answer["headers"], expected, "{method} {before} to {after}");
            assert_eq!(answer.get("removed_headers").is_none(), kept, "{before} to {after}");
            let back = json!({ "url": before, "headers": given.clone() });
            user.put(&path, back).await.expect(200);
        }
        user.delete(&path).await.expect(204);
    }
}

#[tokio::test]
async fn credentials_given_again_with_the_url_go_to_the_new_host() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let new = Receiver::answering("200 OK", "OK").await;
    let headers = json!({ "Authorization": "Bearer old", "X-Api-Key": "old", "X-Own": "a" });
    let path = made(&user, "https://example.com/", headers).await;
    // What was read is sent back, with one value replaced: a mask is no value.
    let headers = json!({ "authorization": "Bearer new", "X-Api-Key": "***", "X-Own": "b" });
    let change = json!({ "url": new.url(), "headers": headers });
    let answer = user.put(&path, change).await.expect(200).data();
    assert_eq!(answer["removed_headers"], json!(["X-Api-Key"]));
    assert_eq!(answer["headers"], json!({ "authorization": "***", "X-Own": "b" }));
    user.post(&format!("{path}/test"), json!({})).await.expect(200);
    let received = new.received().remove(0);
    assert_eq!(received.header("Authorization"), "Bearer new");
    assert_eq!(received.header("X-Api-Key"), "");
    assert_eq!(received.header("X-Own"), "b");
}

#[tokio::test]
async fn a_mask_sent_back_leaves_the_value_as_it_is() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let headers = json!({
        "Authorization": "Bearer mine", "X-Own": "a", "X-Gone-Token": "b",
        "X-Marked": { "value": "c", "sensitive": true },
    });
    let path = made(&user, &endpoint.url(), headers).await;
    let mut shown = user.get(&path).await.expect(200).data()["headers"].clone();
    shown.as_object_mut().unwrap().remove("X-Gone-Token");
    let answer = user.put(&path, json!({ "headers": shown })).await.expect(200).data();
    let expected = json!({ "Authorization": "***", "X-Own": "a", "X-Marked": "***" });
    assert_eq!(answer["headers"], expected);
    assert_eq!(answer.get("removed_headers"), None, "its owner left it out");
    user.post(&format!("{path}/test"), json!({})).await.expect(200);
    let received = endpoint.received().remove(0);
    assert_eq!(received.header("Authorization"), "Bearer mine");
    assert_eq!(received.header("X-Marked"), "c");
    assert_eq!(received.header("X-Gone-Token"), "");
    // A mask where nothing is masked would lose or invent a value.
    for wrong in [json!({ "X-Own": "***" }), json!({ "X-New-Token": "***" })] {
        let answer = user.put(&path, json!({ "headers": wrong })).await.expect(422);
        let name = wrong.as_object().unwrap().keys().next().unwrap();
        assert_eq!(answer.fields(), [format!("headers.{name}")]);
    }
    assert_eq!(user.get(&path).await.data()["headers"], expected);
}

#[tokio::test]
async fn many_masks_do_not_make_room_for_more_than_all_headers_may_have() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let long = "v".repeat(4_000);
    let path =
        made(&user, "https://example.com/", json!({ "X-A-Key": long, "X-B-Key": long })).await;
    let headers = json!({ "X-A-Key": "***", "X-B-Key": "***", "X-C": "v".repeat(1_000) });
    let answer = user.put(&path, json!({ "headers": headers })).await.expect(422);
    assert_eq!(answer.fields(), ["headers"]);
}

#[tokio::test]
async fn headers_that_hold_credentials_by_their_name_are_shown_nowhere() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let names = [
        "Authorization",
        "Cookie",
        "X-Partner-Token",
        "x-api-key",
        "APIKEY",
        "X-Client-Secret",
        "X-Auth",
        "X-Password",
        "X-Db-Passwd",
        "X-PWD",
        "X-Passphrase",
        "X-Hub-Signature-256",
        "X-Session-Id",
        "Set-Cookie2",
        "X-Credentials",
        "X-Jwt",
        "X-Bearer",
        "X-CSRF",
    ];
    let mut headers: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!("mark-5bd1e9"))).collect();
    headers.insert("X-Tenant".into(), json!({ "value": "mark-5bd1e9", "sensitive": true }));
    headers.insert("X-Plain".into(), json!({ "value": "shown", "sensitive": false }));
    let body = json!({
        "name": "n", "url": endpoint.url(), "events": ["*"], "headers": headers.clone(),
    });
    let made = user.post("/v1/webhooks", body).await.expect(201);
    let path = format!("/v1/webhooks/{}", made.data()["id"].as_str().unwrap());
    let test = user.post(&format!("{path}/test"), json!({})).await.expect(200);
    let log = format!("{path}/logs/{}", test.data()["log_id"].as_str().unwrap());
    let changed = patch(&user, &path, json!({ "description": "d" })).await.expect(200);
    let rotate = user.post(&format!("{path}/rotate-secret"), json!({})).await.expect(200);
    let answers = [
        made,
        test,
        changed,
        rotate,
        user.get("/v1/webhooks").await.expect(200),
        user.get(&path).await.expect(200),
        user.get(&log).await.expect(200),
        user.get(&format!("{path}/logs")).await.expect(200),
    ];
    for answer in answers {
        assert!(!answer.text.contains("mark-5bd1e9"), "{}", answer.text);
    }
    let shown = user.get(&path).await.data()["headers"].clone();
    assert_eq!(shown["X-Plain"], "shown");
    for name in names.iter().chain(&["X-Tenant"]) {
        assert_eq!(shown[name], "***", "{name}");
        assert_eq!(endpoint.received()[0].header(name), "mark-5bd1e9", "{name} is sent");
    }
}

#[tokio::test]
async fn a_header_once_marked_is_shown_again_only_with_a_value_given_anew() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let marked = json!({ "X-Tenant": { "value": "first", "sensitive": true } });
    let path = made(&user, "https://example.com/a", marked).await;
    let shown = async |change: Value| -> Value {
        patch(&user, &path, change).await.expect(200).data()["headers"]["X-Tenant"].clone()
    };
    assert_eq!(shown(json!({ "name": "other" })).await, "***", "not mentioned");
    assert_eq!(shown(json!({ "url": "https://example.com/b" })).await, "***");
    let of = |value: Value| json!({ "headers": { "x-tenant": value } });
    let unmarked = of(json!({ "value": "***", "sensitive": false }));
    let answer = patch(&user, &path, unmarked).await.expect(200);
    assert_eq!(answer.data()["headers"]["x-tenant"], "***", "its value stays, and so its mask");
    let answer = patch(&user, &path, of(json!("second"))).await.expect(200);
    assert_eq!(answer.data()["headers"]["x-tenant"], "***", "the mark stays with the name");
    let open = of(json!({ "value": "third", "sensitive": false }));
    let answer = patch(&user, &path, open).await.expect(200);
    assert_eq!(answer.data()["headers"]["x-tenant"], "third");
    // A mark beside a name that says it already takes nothing away.
    let named = json!({ "headers": { "X-Api-Key": { "value": "v", "sensitive": false } } });
    let answer = patch(&user, &path, named).await.expect(200);
    assert_eq!(answer.data()["headers"], json!({ "X-Api-Key": "***" }));
    for (wrong, field) in [
        (json!({ "value": "v", "sensitive": "yes" }), "headers.X-A.sensitive"),
        (json!({ "sensitive": true }), "headers.X-A.value"),
        (json!({ "value": 7 }), "headers.X-A.value"),
        (json!({ "value": "v", "more": 1 }), "headers.X-A.more"),
    ] {
        let change = json!({ "headers": { "X-A": wrong.clone() } });
        assert_eq!(patch(&user, &path, change).await.expect(422).fields(), [field], "{wrong}");
    }
}
