//! Pages of other origins, and what protects those who look at answers in a browser.

use actix_web::{App, HttpResponse, middleware, test, web};
use api::ApiConfig;
use reqwest::Method;
use serde_json::json;

use crate::studio::{Answer, Studio};

const PAGE: &str = "https://studio.example";

async fn studio(origins: &str) -> Studio {
    let mut config = ApiConfig { rate_limit: 1_000, ..ApiConfig::default() };
    config.origins = serde_json::from_value(json!(origins)).unwrap();
    Studio::start_with(config).await
}

async fn preflight(studio: &Studio, origin: &str, method: &str, headers: &str) -> Answer {
    let asked = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", headers),
    ];
    studio.stranger().send_with(Method::OPTIONS, "/v1/webhooks", None, &asked).await
}

#[tokio::test]
async fn a_listed_page_may_call_the_api_with_a_token() {
    let studio = studio("https://studio.example, http://localhost:3000").await;
    for origin in [PAGE, "http://localhost:3000"] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let headers = "authorization,content-type,idempotency-key";
            let answer = preflight(&studio, origin, method, headers).await.expect(200);
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert!(answer.header("access-control-allow-methods").contains(method));
            let allowed = answer.header("access-control-allow-headers").to_lowercase();
            for name in headers.split(',') {
                assert!(allowed.contains(name), "{name}: {allowed}");
            }
            assert_eq!(answer.header("access-control-max-age"), "600");
            assert_eq!(answer.header("access-control-allow-credentials"), "");
        }
        let user = studio.user("usr_1");
        for (path, status) in [("/v1/webhooks", 200), ("/v1/webhooks/wh_1", 404)] {
            let from = [("origin", origin)];
            let answer = user.send_with(Method::GET, path, None, &from).await.expect(status);
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert!(answer.header("vary").to_lowercase().contains("origin"));
            assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
        }
        let from = [("origin", origin)];
        let refused = studio.stranger().send_with(Method::GET, "/v1/webhooks", None, &from).await;
        assert_eq!(refused.expect(401).header("access-control-allow-origin"), origin);
    }
}

#[tokio::test]
async fn no_other_page_is_told_that_it_may() {
    for list in ["", PAGE] {
        let studio = studio(list).await;
        for origin in
            ["https://evil.example", "https://studio.example.evil", "http://studio.example", "null"]
        {
            let answer = preflight(&studio, origin, "POST", "authorization").await;
            assert!(answer.status >= 400, "{}", answer.status);
            assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
            let from = [("origin", origin)];
            let user = studio.user("usr_1");
            let answer = user.send_with(Method::GET, "/v1/webhooks", None, &from).await;
            assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), "");
        }
    }
}

#[tokio::test]
async fn an_ordinary_request_of_no_page_is_as_without_a_list() {
    let studio = studio(PAGE).await;
    let answer = studio.user("usr_1").get("/v1/webhooks").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let answer = studio.stranger().send(Method::OPTIONS, "/v1/webhooks", None).await.expect(405);
    assert_eq!(answer.code(), "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn every_answer_is_safe_to_look_at_in_a_browser() {
    let studio = studio(PAGE).await;
    let user = studio.user("usr_1");
    let preflight = preflight(&studio, PAGE, "POST", "authorization").await;
    let answers = [
        user.get("/v1/webhooks").await.expect(200),
        user.get("/nothing").await.expect(404),
        user.delete("/v1/webhooks").await.expect(405),
        user.post("/v1/webhooks", json!({})).await.expect(422),
        studio.stranger().get("/v1/webhooks").await.expect(401),
        studio.stranger().get("/healthz").await.expect(200),
        studio.stranger().get("/readyz").await.expect(200),
        preflight,
    ];
    for answer in answers {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{}", answer.text);
        assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.text);
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        for name in ["server", "x-powered-by", "via"] {
            assert_eq!(answer.header(name), "", "{name}");
        }
    }
}

#[tokio::test]
async fn a_page_of_our_own_may_say_what_it_needs() {
    let page = || async {
        let policy = ("content-security-policy", "default-src 'self'");
        HttpResponse::Ok()
            .insert_header(policy)
            .insert_header(("cache-control", "max-age=60"))
            .finish()
    };
    let app =
        App::new().wrap(middleware::from_fn(api::observe)).route("/docs", web::get().to(page));
    let app = test::init_service(app).await;
    let request = test::TestRequest::get().uri("/docs").to_request();
    let answer = test::call_service(&app, request).await;
    let header = |name| answer.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!(header("content-security-policy"), "default-src 'self'");
    assert_eq!(header("cache-control"), "max-age=60");
    assert_eq!(header("x-content-type-options"), "nosniff");
}
