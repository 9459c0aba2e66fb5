//! Events to browsers: one reader of the history for the process, an index of who subscribed to
//! what, a bounded queue for each connection. The protocol is in `docs/gateway-protocol.md`.
//!
//! ```text
//! history ─▶ hub ──batches──▶ worker (one thread) ─▶ index ─▶ session's outbox ─▶ socket
//!             └─▶ ring ◀── subscribe with `since` ──┘
//! ```

mod allowance;
mod config;
mod conversation;
mod credentials;
mod entry;
mod files;
mod frame;
mod health;
mod hub;
mod incoming;
mod index;
mod metrics;
mod outbox;
mod presence;
mod protocol;
mod recent;
mod resume;
mod returns;
mod ring;
mod session;
mod sign_outs;
mod socket;
mod stream;
mod subscriptions;
mod trail;
mod upgrade;
mod wheel;
mod worker;

use std::sync::Arc;

use access::Verifier;
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{App, HttpRequest, HttpServer};
use broker::SharedBroker;
use listener::Door;
use tokio_util::sync::CancellationToken;

pub use config::GatewayConfig;
pub use outbox::WRITE_BUFFER;

use crate::hub::Hub;
use crate::worker::Worker;

/// A running gateway. Cloning shares it.
#[derive(Clone)]
pub struct Gateway {
    hub: Arc<Hub>,
    broker: SharedBroker,
    verifier: Verifier,
    config: Arc<GatewayConfig>,
    door: Arc<Door>,
}

impl Gateway {
    /// Begins to read the history; connections come by [`routes`]. Nobody is let in before it is
    /// known who was signed out: from whoever shares `verifier`, or by asking services that have
    /// a store.
    #[must_use]
    pub fn start(config: &GatewayConfig, broker: SharedBroker, verifier: Verifier) -> Self {
        files::check(config.connections);
        let hub = Arc::new(Hub::new(config));
        tokio::spawn(hub::follow_history(hub.clone(), broker.clone(), config.resume_age));
        let sign_outs = verifier.sign_outs().clone();
        tokio::spawn(sign_outs::follow(hub.clone(), broker.clone(), sign_outs));
        let door = Door::new(config.door());
        Self { hub, broker, verifier, config: Arc::new(config.clone()), door }
    }

    /// The door of the gateway's own listener.
    #[must_use]
    pub fn door(&self) -> Arc<Door> {
        self.door.clone()
    }

    /// Takes no new connections, tells each client to come back at a time of its own, and closes
    /// them in even slices over the time of the setting. Returns when they have left.
    pub async fn drain(&self) {
        self.hub.drain(self.config.drain_for).await;
    }
}

/// Mounts `GET /v1/ws` and `GET /v1/events/stream`. Middleware around them stays for the life of
/// each connection; keep it small, and let it not log the query, which may hold a token.
pub fn routes(gateway: Gateway) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static {
    move |config: &mut ServiceConfig| {
        // Called on the thread of each HTTP worker.
        let Gateway { hub, verifier, config: settings, .. } = gateway.clone();
        let worker = Worker::start(hub, settings, verifier);
        let streaming = worker.clone();
        let upgrade = move |request: HttpRequest, payload: Payload| {
            upgrade::upgrade(request, payload, worker.clone())
        };
        let stream = move |request: HttpRequest| {
            let worker = streaming.clone();
            async move { stream::stream(request, worker).await }
        };
        config
            .app_data(Data::new(gateway))
            .service(web::resource("/v1/ws").route(web::get().to(upgrade)))
            .service(web::resource("/v1/events/stream").route(web::get().to(stream)));
    }
}

/// Serves the gateway by itself until `stop`, with `/healthz` and a bare `/readyz`.
///
/// # Errors
/// When the listener cannot be served.
pub async fn serve(
    gateway: Gateway,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let door = gateway.door();
    let draining = gateway.clone();
    let server = HttpServer::new(move || {
        App::new()
            .configure(routes(gateway.clone()))
            .route("/healthz", web::get().to(operate::healthz))
            .route("/readyz", web::get().to(health::readyz))
    })
    // The gateway has its own limit, and answers beyond it; at this one it would stop accepting.
    .max_connections(draining.config.connections.saturating_mul(2).max(1_024))
    .h1_write_buffer_size(WRITE_BUFFER)
    .shutdown_timeout(5);
    let server = listener::serve_at(server, listener, &door)?.run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.cancelled().await;
        draining.drain().await;
        handle.stop(true).await;
    });
    server.await
}
