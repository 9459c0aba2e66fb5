//! `/healthz`, `/readyz` and `/metrics`

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use broker::Health;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;

/// Longest wait for the database's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the process lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Liveness {
    /// `ok`
    status: &'static str,
}

/// Whether requests can be served.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready` or `away`
    status: &'static str,
    /// `ready`, or why the database is not.
    store: String,
    /// `ready`, or why the broker is not.
    broker: String,
}

/// Whether it lives
///
/// Answers as long as the process does.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "Operations",
    responses((status = 200, description = "It lives.", body = Liveness)),
)]
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Liveness { status: "ok" })
}

/// Whether it is ready
///
/// Whether requests can be served: 503 names what is away.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "Operations",
    responses(
        (status = 200, description = "Requests can be served.", body = Readiness),
        (status = 503, description = "They cannot: something is away.", body = Readiness),
    ),
)]
pub(crate) async fn readyz(api: Data<Api>) -> HttpResponse {
    let store = match tokio::time::timeout(PATIENCE, api.store.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the database does not answer".to_owned()),
    };
    let broker = match api.broker.health() {
        Health::Ready => None,
        Health::Away(reason) => Some(reason),
    };
    let ready = store.is_none() && broker.is_none();
    let or_ready = |reason: Option<String>| reason.unwrap_or_else(|| "ready".to_owned());
    let body = Readiness {
        status: if ready { "ready" } else { "away" },
        store: or_ready(store),
        broker: or_ready(broker),
    };
    if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// Metrics
///
/// What Prometheus reads.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "Operations",
    responses((status = 200, description = "Prometheus' text format.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render())
}
