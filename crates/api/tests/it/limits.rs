//! Rate limits.

use serde_json::json;

use crate::receiver::Receiver;
use crate::studio::Studio;

#[tokio::test]
async fn the_one_request_too_many_is_told_when_to_come_again() {
    let config = api::ApiConfig { rate_limit: 5, ..Default::default() };
    let studio = Studio::start_with(config).await;
    let user = studio.user("usr_1");
    for left in (0..5).rev() {
        let answer = user.get("/v1/webhooks").await.expect(200);
        assert_eq!(answer.header("x-ratelimit-limit"), "5");
        assert_eq!(answer.header("x-ratelimit-remaining"), left.to_string());
        assert!(answer.header("x-ratelimit-reset").parse::<i64>().unwrap() > 1_700_000_000);
    }
    let answer = user.get("/v1/webhooks").await.expect(429);
    assert_eq!(answer.code(), "RATE_LIMITED");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=13).contains(&wait), "{wait}");
    assert_eq!(answer.header("x-ratelimit-remaining"), "0");
    studio.user("usr_2").get("/v1/webhooks").await.expect(200);
}

#[tokio::test]
async fn tests_have_a_limit_of_their_own() {
    let config = api::ApiConfig { rate_limit: 1_000, ..Default::default() };
    let studio = Studio::start_with(config).await;
    let endpoint = Receiver::answering("204 No Content", "").await;
    let user = studio.user("usr_1");
    let path = format!("/v1/webhooks/{}/test", user.webhook(&endpoint.url()).await);
    for _ in 0..10 {
        user.post(&path, json!({})).await.expect(200);
    }
    let answer = user.post(&path, json!({})).await.expect(429);
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
    assert_eq!(endpoint.received().len(), 10);
}

#[tokio::test]
async fn redeliveries_have_a_limit_of_their_own() {
    let config = api::ApiConfig { rate_limit: 1_000, redelivery_limit: 3, ..Default::default() };
    let studio = Studio::start_with(config).await;
    let user = studio.user("usr_1");
    let log = format!("log_{}", "0".repeat(32));
    let path = format!("/v1/webhooks/wh_{}/logs/{log}/redeliver", "0".repeat(32));
    for _ in 0..3 {
        user.post(&path, json!({})).await.expect(404);
    }
    let answer = user.post(&path, json!({})).await.expect(429);
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
    studio.user("usr_2").post(&path, json!({})).await.expect(404);
    user.get("/v1/webhooks").await.expect(200);
}
