//! `/healthz`, `/readyz` and `/metrics` of a gateway that runs by itself.

use actix_web::HttpResponse;
use actix_web::web::Data;
use broker::Health;
use serde_json::json;

use crate::Gateway;

pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

pub(crate) async fn readyz(gateway: Data<Gateway>) -> HttpResponse {
    match gateway.broker.health() {
        Health::Ready if !gateway.hub.is_draining() => {
            HttpResponse::Ok().json(json!({ "status": "ready", "broker": "ready" }))
        }
        Health::Ready => HttpResponse::ServiceUnavailable().json(json!({ "status": "draining" })),
        Health::Away(reason) => {
            HttpResponse::ServiceUnavailable().json(json!({ "status": "away", "broker": reason }))
        }
    }
}

pub(crate) async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render())
}
