//! What operators ask.

use operate::Watched;

use crate::studio::Studio;

#[tokio::test]
async fn a_service_with_everything_there_is_ready() {
    let studio = Studio::start().await;
    studio.stranger().get("/healthz").await.expect(200);
    let ready = studio.stranger().get("/readyz").await.expect(200);
    assert_eq!(ready.text, r#"{"status":"ready"}"#);
    assert!(studio.api().readiness().await.is_ready());
}

#[tokio::test]
async fn what_is_away_is_named_to_operators_alone() {
    let studio = Studio::start().await;
    studio.store.clone().close().await;
    let away = studio.stranger().get("/readyz").await.expect(503);
    assert_eq!(away.text, r#"{"status":"away"}"#);
    let details = format!("{:?}", studio.api().readiness().await);
    assert!(details.contains(r#"("broker", "ready")"#), "{details}");
    assert!(!details.contains(r#"("store", "ready")"#), "{details}");
    studio.stranger().get("/healthz").await.expect(200);
    let answer = studio.user("usr_1").get("/v1/webhooks").await.expect(503);
    assert_eq!(answer.code(), "SERVICE_UNAVAILABLE");
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_never_by_path() {
    let studio = Studio::start().await;
    let id = studio.user("usr_1").webhook("https://example.com/").await;
    studio.user("usr_1").get(&format!("/v1/webhooks/{id}")).await.expect(200);
    studio.stranger().get("/of/my/own/choice").await.expect(404);
    studio.stranger().get("/metrics").await.expect(404);
    let text = telemetry::render();
    assert!(text.contains(r#"route="/v1/webhooks/{webhook_id}""#), "{text}");
    assert!(!text.contains(&id) && !text.contains("choice") && !text.contains("usr_1"), "{text}");
}
