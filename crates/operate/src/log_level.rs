//! `GET` and `PUT /log-level`: what is logged, changed while the process runs.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{BytesMut, Payload};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;

/// Largest body, bytes.
const LARGEST: usize = 4 * 1024;

/// Longest time that a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked for: all directives, or the level of one target.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// In the syntax of `telemetry.filter`; instead of what was logged until now.
    filter: Option<String>,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    level: Option<String>,
    /// Whose level, such as `dispatcher`; everybody's who is not named when left out.
    target: Option<String>,
}

fn shown() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "filter": telemetry::log_filter() }))
}

/// What is logged now.
pub(crate) async fn get() -> HttpResponse {
    shown()
}

/// Changes it, until the process ends.
pub(crate) async fn put(payload: Payload) -> HttpResponse {
    let body = match tokio::time::timeout(PATIENCE, read(payload)).await {
        Ok(Some(body)) => body,
        Ok(None) => return refused(HttpResponse::PayloadTooLarge(), "at most 4,096 bytes"),
        Err(_) => return refused(HttpResponse::RequestTimeout(), "the body did not arrive"),
    };
    let expected = r#"expected {"level":"debug"}, {"target":"dispatcher","level":"debug"} or {"filter":"info,dispatcher=debug"}"#;
    let Ok(wish) = serde_json::from_slice::<Wish>(&body) else {
        return refused(HttpResponse::BadRequest(), expected);
    };
    let changed = match (wish.filter, wish.level, wish.target) {
        (Some(filter), None, None) => telemetry::set_log_filter(&filter),
        (None, Some(level), target) => telemetry::set_log_level(target.as_deref(), &level),
        _ => return refused(HttpResponse::BadRequest(), expected),
    };
    match changed {
        Ok(()) => {
            tracing::warn!("an operator changed what is logged: {}", telemetry::log_filter());
            shown()
        }
        Err(error) => refused(HttpResponse::UnprocessableEntity(), &error.message),
    }
}

async fn read(mut payload: Payload) -> Option<BytesMut> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        body.extend_from_slice(&chunk.ok()?);
        if body.len() > LARGEST {
            return None;
        }
    }
    Some(body)
}

fn refused(mut answer: actix_web::HttpResponseBuilder, why: &str) -> HttpResponse {
    answer.force_close().json(json!({ "error": why }))
}
