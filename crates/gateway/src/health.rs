//! `/healthz`, `/readyz` and `/metrics` of a gateway that runs by itself.

use actix_web::HttpResponse;
use actix_web::web::Data;
use broker::Health;
use serde_json::json;

use crate::Gateway;

pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Ready once the history has been caught up with: then clients can resume here.
pub(crate) async fn readyz(gateway: Data<Gateway>) -> HttpResponse {
    let (status, broker) = match gateway.broker.health() {
        Health::Away(reason) => ("away", reason),
        Health::Ready if gateway.hub.is_draining() => ("draining", "ready".to_owned()),
        Health::Ready if !gateway.hub.is_following() => ("catching up", "ready".to_owned()),
        Health::Ready => {
            return HttpResponse::Ok().json(json!({ "status": "ready", "broker": "ready" }));
        }
    };
    HttpResponse::ServiceUnavailable().json(json!({ "status": status, "broker": broker }))
}

pub(crate) async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render())
}
