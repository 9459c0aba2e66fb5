//! The operators' routes: `/healthz`, `/readyz`, `/metrics`, `/log-level` and `/waiting`.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, Error, HttpResponse, HttpServer};
use listener::Door;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Watched, guard, healthz, log_level};

/// What is served.
#[derive(Clone)]
pub struct Served {
    /// The services of the process.
    pub services: Vec<Arc<dyn Watched>>,
    /// The listeners of the process, for the number of their connections.
    pub doors: Vec<(&'static str, Arc<Door>)>,
    /// Names that it is called by; see [`crate::OperateConfig::hosts`].
    pub hosts: Vec<String>,
}

/// Serves operators at `listener` until `stop`.
///
/// # Errors
/// When the listener cannot be served.
pub async fn serve(
    served: Served,
    listener: TcpListener,
    door: Arc<Door>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let hosts: Arc<[String]> = served.hosts.clone().into();
    let served = Data::new(served);
    let server = HttpServer::new(move || {
        let hosts = hosts.clone();
        let guarded = move |request, next: Next<BoxBody>| guarded(hosts.clone(), request, next);
        App::new()
            .app_data(served.clone())
            .wrap(from_fn(guarded))
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics))
            .route("/log-level", web::get().to(log_level::get))
            .route("/log-level", web::put().to(log_level::put))
            .route("/waiting", web::get().to(waiting))
    })
    .workers(1)
    .shutdown_timeout(1);
    let server = listener::serve_at(server, listener, &door)?.run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.cancelled().await;
        handle.stop(false).await;
    });
    server.await
}

async fn guarded(
    hosts: Arc<[String]>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut answer = match guard::check(request.headers(), &hosts) {
        Ok(()) => next.call(request).await?,
        Err(why) => {
            let refusal = HttpResponse::Forbidden().force_close().json(json!({ "error": why }));
            request.into_response(refusal)
        }
    };
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer)
}

async fn readyz(served: Data<Served>) -> HttpResponse {
    let mut all = crate::Readiness::of([]);
    for service in &served.services {
        all = all.and(service.readiness().await);
    }
    all.details()
}

async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render())
}

/// What is under way and waiting, by service, and the open connections, by listener.
async fn waiting(served: Data<Served>) -> HttpResponse {
    let services = served.services.iter();
    let mut all: Map<String, Value> =
        services.map(|service| (service.name().to_owned(), service.waiting())).collect();
    let doors = served.doors.iter().map(|(name, door)| ((*name).to_owned(), json!(door.open())));
    all.insert("connections".to_owned(), Value::Object(doors.collect()));
    HttpResponse::Ok().json(all)
}
