//! `GET /docs`: the API's description for people, drawn from `/openapi.json` by a little script.
//! It loads nothing from elsewhere, so that it works without a network and under a strict policy.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_SECURITY_POLICY;

/// Only what we serve ourselves; nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

pub(crate) async fn page() -> HttpResponse {
    file("text/html; charset=utf-8", include_str!("docs_page/page.html"))
}

pub(crate) async fn style() -> HttpResponse {
    file("text/css; charset=utf-8", include_str!("docs_page/page.css"))
}

pub(crate) async fn script() -> HttpResponse {
    file("text/javascript; charset=utf-8", include_str!("docs_page/page.js"))
}

fn file(kind: &str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(text)
}
