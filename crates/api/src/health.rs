//! `/healthz`, `/readyz` and `/metrics`

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use broker::Health;
use serde_json::json;

use crate::Api;

/// Longest wait for the database's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process lives.
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Whether requests can be served: 503 names what is away.
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
    let body = json!({
        "status": if ready { "ready" } else { "away" },
        "store": store.as_deref().unwrap_or("ready"),
        "broker": broker.as_deref().unwrap_or("ready"),
    });
    if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// Prometheus text.
pub(crate) async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render())
}
