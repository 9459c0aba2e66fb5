//! `Idempotency-Key`: the same request again gets the same answer, and is done once.

use std::time::Duration;

use broker::Queue;
use domain::UserId;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Claimed, KeyedRequest};

use crate::receiver::Receiver;
use crate::studio::{Answer, Caller, Studio, user_id};

/// Makes each promise a module with a test for each kind of database.
macro_rules! on_both_stores {
    ($(async fn $promise:ident($studio:pat_param) $body:block)*) => {$(
        mod $promise {
            #[allow(unused_imports, reason = "not every promise needs them all")]
            use super::*;

            async fn promise($studio: Studio) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                promise(Studio::start().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                promise(Studio::on_postgres().await).await;
            }
        }
    )*};
}

async fn keyed(caller: &Caller<'_>, path: &str, body: &Value, key: &str) -> Answer {
    let headers = [("idempotency-key", key)];
    caller.send_with(Method::POST, path, Some(body.to_string()), &headers).await
}

fn webhook(name: &str) -> Value {
    json!({ "name": name, "url": "https://example.com/", "events": ["*"] })
}

fn one_event() -> Value {
    json!({ "event": "project.created", "user_id": "usr_1", "data": {} })
}

async fn count(caller: &Caller<'_>) -> usize {
    caller.get("/v1/webhooks").await.expect(200).data().as_array().unwrap().len()
}

/// What a process that was killed in the middle left behind: a claim that nobody ends.
async fn abandoned(studio: &Studio, user: &str, path: &str, body: &Value, key: &str) -> Claimed {
    let mut hash = Sha256::new();
    for part in [path, "", &body.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let (user, fingerprint): (UserId, [u8; 32]) = (user_id(user), hash.finalize().into());
    let request = KeyedRequest { user: &user, key, fingerprint: &fingerprint };
    studio.store.claim_key(request, Duration::ZERO).await.unwrap()
}

on_both_stores! {
    async fn the_same_request_again_gets_the_same_answer(studio) {
        let user = studio.user("usr_1");
        let first = keyed(&user, "/v1/webhooks", &webhook("one"), "key 1").await.expect(201);
        let again = keyed(&user, "/v1/webhooks", &webhook("one"), "key 1").await.expect(201);
        assert_eq!(again.text, first.text, "the secret and the request's id too");
        assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
        assert_eq!(count(&user).await, 1);
        keyed(&user, "/v1/webhooks", &webhook("one"), "key 2").await.expect(201);
        user.post("/v1/webhooks", webhook("one")).await.expect(201);
        user.post("/v1/webhooks", webhook("one")).await.expect(201);
        assert_eq!(count(&user).await, 4, "another key, and none at all");
    }

    async fn of_twenty_at_once_one_makes_the_webhook_and_all_get_its_answer(studio) {
        let user = studio.user("usr_1");
        let body = webhook("one");
        let answers = join_all((0..20).map(|_| keyed(&user, "/v1/webhooks", &body, "k"))).await;
        for answer in &answers {
            assert_eq!((answer.status, &answer.text), (201, &answers[0].text));
        }
        let first = answers.iter().filter(|a| a.header("idempotent-replayed").is_empty()).count();
        assert_eq!(first, 1, "one was worked on");
        assert_eq!(count(&user).await, 1);
    }

    async fn a_key_belongs_to_one_request_and_one_user(studio) {
        let (user, other) = (studio.user("usr_1"), studio.user("usr_2"));
        let made = keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(201).data();
        let path = format!("/v1/webhooks/{}/rotate-secret", made["id"].as_str().unwrap());
        for (path, body) in [
            ("/v1/webhooks", webhook("two")),
            ("/v1/webhooks?x=1", webhook("one")),
            (path.as_str(), webhook("one")),
        ] {
            let answer = keyed(&user, path, &body, "k").await.expect(422);
            assert_eq!(answer.fields(), ["Idempotency-Key"], "{path}");
        }
        // The right to act for a user comes before the key, even for oneself.
        keyed(&user, "/v1/webhooks?user_id=usr_1", &webhook("one"), "k").await.expect(403);
        keyed(&other, "/v1/webhooks", &webhook("two"), "k").await.expect(201);
        assert_eq!((count(&user).await, count(&other).await), (1, 1));
    }

    async fn a_refused_request_leaves_its_key_free(studio) {
        let user = studio.user("usr_1");
        keyed(&user, "/v1/webhooks", &webhook(""), "k").await.expect(422);
        keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(201);
        keyed(&user, "/v1/webhooks/wh_1/test", &json!({}), "l").await.expect(404);
        keyed(&user, "/v1/webhooks", &webhook("two"), "l").await.expect(201);
    }

    async fn every_post_is_done_once(studio) {
        let (user, service) = (studio.user("usr_1"), studio.service());
        let endpoint = Receiver::answering("200 OK", "OK").await;
        let path = format!("/v1/webhooks/{}", user.webhook(&endpoint.url()).await);
        let test = keyed(&user, &format!("{path}/test"), &json!({}), "t").await.expect(200);
        let log = format!("{path}/logs/{}/redeliver", test.data()["log_id"].as_str().unwrap());
        let batch = json!({ "events": [one_event(), one_event()] });
        for (caller, path, body, status) in [
            (&user, format!("{path}/test"), json!({}), 200),
            (&user, format!("{path}/rotate-secret"), json!({}), 200),
            (&user, log, json!({}), 202),
            (&service, "/v1/events".to_owned(), one_event(), 202),
            (&service, "/v1/events".to_owned(), batch, 202),
        ] {
            let key = format!("{path} {body}");
            let first = keyed(caller, &path, &body, &key).await.expect(status);
            let again = keyed(caller, &path, &body, &key).await.expect(status);
            assert_eq!(again.text, first.text, "{path}");
            assert_eq!(again.header("idempotent-replayed"), "true", "{path}");
        }
        assert_eq!(endpoint.received().len(), 2, "two tests with two keys");
        assert_eq!(studio.broker.depth(Queue::Deliver).await.unwrap(), 1);
        assert_eq!(studio.broker.depth(Queue::Dispatch).await.unwrap(), 3);
    }

    async fn events_published_again_after_a_crash_are_the_same_events(studio) {
        let service = studio.service();
        let batch = json!({ "events": [one_event(), one_event(), one_event()] });
        let of = async |body: &Value| {
            let answer = keyed(&service, "/v1/events", body, "k").await.expect(202).data();
            answer["results"].as_array().unwrap().clone()
        };
        let Claimed::New(seed) = abandoned(&studio, "studio-scraper", "/v1/events", &batch, "k").await
        else { panic!("the key is new") };
        // Confirmed by the broker, and killed before the answer was kept.
        let ids = of(&batch).await;
        assert_eq!(studio.broker.depth(Queue::Dispatch).await.unwrap(), 3);
        let forget = "UPDATE idempotency_keys SET status = NULL, answer = NULL, locked_until = 0";
        studio.sql(forget).await;
        assert_eq!(of(&batch).await, ids);
        assert_eq!(ids[0]["id"].as_str().unwrap()[4..12], seed.simple().to_string()[..8]);
        assert_eq!(studio.broker.depth(Queue::Dispatch).await.unwrap(), 3, "copies are dropped");
        let first = studio.next_of(Queue::Dispatch).await.event().unwrap();
        assert_eq!(Value::from(first.id.as_str()), ids[0]["id"]);
    }

    async fn a_webhook_made_before_a_crash_is_found_again(studio) {
        let user = studio.user("usr_1");
        let first = keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(201).data();
        studio.sql("UPDATE idempotency_keys SET status = NULL, answer = NULL, locked_until = 0").await;
        let again = keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(201).data();
        assert_eq!(again, first);
        assert_eq!(count(&user).await, 1);
    }

    async fn a_failure_of_ours_is_not_kept(studio) {
        let service = studio.service();
        studio.broker.close().await;
        for _ in 0..2 {
            let answer = keyed(&service, "/v1/events", &one_event(), "k").await.expect(503);
            assert_eq!(answer.header("idempotent-replayed"), "");
        }
        let other = json!({ "events": [one_event()] });
        assert_eq!(keyed(&service, "/v1/events", &other, "k").await.expect(422).fields(), ["Idempotency-Key"]);
    }

    async fn a_key_is_good_for_a_day(studio) {
        let user = studio.user("usr_1");
        keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(201);
        let age = |hours: i64| {
            format!("UPDATE idempotency_keys SET created_at = created_at - {}", hours * 3_600_000_000)
        };
        studio.sql(&age(23)).await;
        let kept = keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(201);
        assert_eq!(kept.header("idempotent-replayed"), "true");
        studio.sql(&age(2)).await;
        keyed(&user, "/v1/webhooks", &webhook("two"), "k").await.expect(201);
        assert_eq!(count(&user).await, 2);
    }
}

#[tokio::test]
async fn while_the_first_is_under_way_the_same_request_is_told_to_come_again() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::waiting("200 OK", "OK").await;
    let path = format!("/v1/webhooks/{}/test", user.webhook(&endpoint.url()).await);
    let body = json!({});
    let (first, (busy, again)) = tokio::join!(keyed(&user, &path, &body, "k"), async {
        endpoint.arrival().await;
        let busy = keyed(&user, &path, &body, "k").await;
        endpoint.release();
        (busy, keyed(&user, &path, &body, "k").await)
    });
    assert_eq!((busy.status, busy.header("retry-after")), (409, "1"));
    assert_eq!(busy.code(), "IDEMPOTENCY_KEY_IN_USE");
    assert_eq!(first.expect(200).text, again.expect(200).text);
    assert_eq!(endpoint.received().len(), 1);
}

#[tokio::test]
async fn the_work_of_a_caller_who_went_away_is_done_and_its_answer_kept() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let endpoint = Receiver::waiting("200 OK", "OK").await;
    let path = format!("/v1/webhooks/{}/test", user.webhook(&endpoint.url()).await);
    let body = json!({});
    tokio::select! {
        _ = keyed(&user, &path, &body, "k") => panic!("the endpoint has not answered"),
        () = endpoint.arrival() => {}
    }
    endpoint.release();
    let answer = keyed(&user, &path, &body, "k").await.expect(200);
    assert_eq!(answer.data()["delivered"], true);
    assert_eq!(endpoint.received().len(), 1);
}

#[tokio::test]
async fn a_wrong_key_is_named_and_other_methods_do_not_look_at_it() {
    let studio = Studio::start().await;
    let user = studio.user("usr_1");
    let longest = "x".repeat(255);
    keyed(&user, "/v1/webhooks", &webhook("one"), &longest).await.expect(201);
    for wrong in ["", " ", &"x".repeat(256), "a\tb"] {
        let answer = keyed(&user, "/v1/webhooks", &webhook("one"), wrong).await.expect(422);
        assert_eq!(answer.fields(), ["Idempotency-Key"], "{wrong:?}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let body = Some(webhook("one").to_string());
    let answer = user.send_with(Method::POST, "/v1/webhooks", body, &twice).await.expect(422);
    assert_eq!(answer.fields(), ["Idempotency-Key"]);
    user.send_with(Method::GET, "/v1/webhooks", None, &[("idempotency-key", "")]).await.expect(200);
}

#[tokio::test]
async fn a_repeated_request_is_authenticated_and_counted_like_any_other() {
    let config = api::ApiConfig { rate_limit: 3, ..Default::default() };
    let studio = Studio::start_with(config).await;
    let user = studio.user("usr_1");
    for left in ["2", "1", "0"] {
        let answer = keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(201);
        assert_eq!(answer.header("x-ratelimit-remaining"), left);
    }
    let refused = keyed(&user, "/v1/webhooks", &webhook("one"), "k").await.expect(429);
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    keyed(&studio.stranger(), "/v1/webhooks", &webhook("one"), "k").await.expect(401);
    let readonly = studio.with_roles("usr_2", &["readonly"]);
    keyed(&readonly, "/v1/webhooks", &webhook("one"), "k").await.expect(403);
}

#[tokio::test]
async fn a_large_batch_has_room_and_what_is_too_large_is_refused() {
    let studio = Studio::start().await;
    let service = studio.service();
    let events: Vec<Value> = (0..1_000)
        .map(|_| json!({ "event": "scrape.started", "user_id": "u", "data": { "x": "y".repeat(200) } }))
        .collect();
    let batch = json!({ "events": events });
    let first = keyed(&service, "/v1/events", &batch, "k").await.expect(202);
    assert_eq!(first.data()["accepted"], 1_000);
    assert_eq!(keyed(&service, "/v1/events", &batch, "k").await.expect(202).text, first.text);
    assert_eq!(studio.broker.depth(Queue::Dispatch).await.unwrap(), 1_000);
    let large = webhook(&"x".repeat(70_000));
    keyed(&studio.user("usr_1"), "/v1/webhooks", &large, "k").await.expect(413);
}

#[tokio::test]
async fn kept_answers_of_one_user_stay_within_their_bytes_and_their_number() {
    const MOST: u64 = 2 * 1024 * 1024;
    for config in [
        api::ApiConfig { idempotency_bytes: MOST, rate_limit: 0, ..Default::default() },
        api::ApiConfig { idempotency_keys: 24, rate_limit: 0, ..Default::default() },
    ] {
        let keys = config.idempotency_keys;
        let studio = Studio::start_with(config).await;
        let service = studio.service();
        // One that is right, so that all are answered, and an answer of some 80 KiB.
        let wrong = json!({ "event": "no.such.event", "user_id": "u", "data": {} });
        let mut events = vec![one_event()];
        events.resize(400, wrong);
        let batch = json!({ "events": events });
        for n in 0..60 {
            let key = format!("k{n}");
            let answer = keyed(&service, "/v1/events", &batch, &key).await.expect(202);
            assert!(answer.text.len() > 70_000, "{}", answer.text.len());
            let kept = studio.store.kept_keys(&user_id("studio-scraper")).await.unwrap();
            assert!(kept.bytes <= 60 * 120_000 && kept.keys <= keys, "{n}: {kept:?}");
            if keys > 24 {
                assert!(kept.bytes <= MOST, "{n}: {kept:?}");
            }
        }
        let kept = studio.store.kept_keys(&user_id("studio-scraper")).await.unwrap();
        assert!((15..=24).contains(&kept.keys), "as many as there is room for: {kept:?}");
        // The newest are the ones that are kept.
        let again = keyed(&service, "/v1/events", &batch, "k59").await.expect(202);
        assert_eq!(again.header("idempotent-replayed"), "true");
    }
}
