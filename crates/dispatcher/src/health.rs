//! `/healthz`, `/readyz` and `/metrics` of a dispatcher that runs by itself.

use std::net::TcpListener;

use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse, HttpServer};
use broker::{Health, SharedBroker};
use store::Store;
use tokio_util::sync::CancellationToken;

struct Watched {
    store: Store,
    broker: SharedBroker,
}

/// Serves until `stop`.
///
/// # Errors
/// When the listener cannot be served.
pub async fn serve_health(
    store: Store,
    broker: SharedBroker,
    listener: TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let watched = Data::new(Watched { store, broker });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(watched.clone())
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.cancelled().await;
        handle.stop(false).await;
    });
    server.await
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "ok" }))
}

async fn readyz(watched: Data<Watched>) -> HttpResponse {
    let store = watched.store.ping().await.err().map(|error| error.to_string());
    let broker = match watched.broker.health() {
        Health::Ready => None,
        Health::Away(reason) => Some(reason),
    };
    let ready = store.is_none() && broker.is_none();
    let body = serde_json::json!({
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

async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render())
}
