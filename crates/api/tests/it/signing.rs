//! Webhooks whose `webhook-signature` is by Ed25519.

use domain::{PublicKey, Secret};
use reqwest::Method;
use serde_json::{Value, json};

use crate::receiver::{Received, Receiver};
use crate::studio::{Caller, Studio};

/// Whether `webhook-signature` verifies with `key`, and how many signatures it holds.
fn checked(request: &Received, key: &Value) -> (bool, usize) {
    let key: PublicKey = key.as_str().unwrap().parse().unwrap();
    let (id, at) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let header = request.header("webhook-signature");
    let verifies = key.verifies(id, at.parse().unwrap(), &request.body, header);
    (verifies, header.split(' ').count())
}

async fn tested(user: &Caller<'_>, path: &str, endpoint: &Receiver) -> Received {
    user.post(&format!("{path}/test"), json!({})).await.expect(200);
    endpoint.received().pop().unwrap()
}

#[tokio::test]
async fn deliveries_are_signed_with_a_key_whose_public_half_is_shown() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let body = json!({
        "name": "n", "url": endpoint.url(), "events": ["*"], "secret": "my_webhook_secret",
        "signing": "ed25519",
    });
    let made = user.post("/v1/webhooks", body).await.expect(201).data();
    assert_eq!(made["signing"], "ed25519");
    let key = made["public_key"].clone();
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let list = user.get("/v1/webhooks").await.data();
    for shown in [user.get(&path).await.data(), list[0].clone()] {
        assert_eq!((&shown["public_key"], shown.get("previous_public_key")), (&key, None));
    }
    let request = tested(&user, &path, &endpoint).await;
    assert!(request.header("webhook-signature").starts_with("v1a,"));
    assert_eq!(checked(&request, &key), (true, 1));
    let secret = Secret::new("my_webhook_secret");
    let by_secret = request.header("x-sentimatrix-signature");
    assert!(domain::verify(&secret, &request.body, by_secret), "as it is for all");
    // The log makes the headers again, and they are the same.
    let logs = user.get(&format!("{path}/logs")).await.data();
    let log = format!("{path}/logs/{}", logs[0]["id"].as_str().unwrap());
    let shown = user.get(&log).await.expect(200).data();
    let headers = &shown["request"]["headers"];
    assert_eq!(headers["Webhook-Signature"], request.header("webhook-signature"));
}

#[tokio::test]
async fn a_rotation_makes_a_new_pair_and_the_old_one_signs_beside_it() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let body = json!({ "name": "n", "url": endpoint.url(), "events": ["*"], "signing": "ed25519" });
    let made = user.post("/v1/webhooks", body).await.expect(201).data();
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let rotate = async |grace: u64| {
        let body = json!({ "grace_seconds": grace });
        user.post(&format!("{path}/rotate-secret"), body).await.expect(200).data()
    };
    let rotated = rotate(3_600).await;
    assert_ne!(rotated["public_key"], made["public_key"]);
    assert_eq!(rotated["previous_public_key"], made["public_key"]);
    let request = tested(&user, &path, &endpoint).await;
    for key in [&rotated["public_key"], &made["public_key"]] {
        assert_eq!(checked(&request, key), (true, 2));
    }
    let third = rotate(0).await;
    assert_eq!(third.get("previous_public_key"), None);
    let request = tested(&user, &path, &endpoint).await;
    assert_eq!(checked(&request, &third["public_key"]), (true, 1));
    assert_eq!(checked(&request, &rotated["public_key"]), (false, 1));
}

#[tokio::test]
async fn the_way_of_signing_is_changed_and_a_key_stays_until_it_is_rotated() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::answering("200 OK", "OK").await;
    let path = format!("/v1/webhooks/{}", user.webhook(&endpoint.url()).await);
    let plain = user.get(&path).await.expect(200);
    for absent in ["signing", "public_key"] {
        assert!(!plain.text.contains(absent), "only where it is used: {}", plain.text);
    }
    let change = async |signing: Value| {
        let change = Some(json!({ "signing": signing, "description": "d" }).to_string());
        user.send(Method::PATCH, &path, change).await
    };
    let first = change(json!("ed25519")).await.expect(200).data();
    assert_eq!(checked(&tested(&user, &path, &endpoint).await, &first["public_key"]), (true, 1));
    let again = change(json!("ed25519")).await.expect(200).data();
    assert_eq!(again["public_key"], first["public_key"], "asked for twice, it is the same");
    let back = change(json!("hmac")).await.expect(200).data();
    assert_eq!((back.get("signing"), back.get("public_key")), (None, None));
    let request = tested(&user, &path, &endpoint).await;
    assert!(request.header("webhook-signature").starts_with("v1,"));
    let anew = change(json!("ed25519")).await.expect(200).data();
    assert_ne!(anew["public_key"], first["public_key"]);
    for wrong in [json!("rsa"), json!(null), json!(1), json!("ED25519")] {
        assert_eq!(change(wrong).await.expect(422).fields(), ["signing"]);
    }
}
