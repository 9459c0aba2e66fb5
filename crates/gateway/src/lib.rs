//! Events to browsers: one reader of the history for the process, an index of who subscribed to
//! what, a bounded queue for each connection. The protocol is in `docs/gateway-protocol.md`.

mod config;
mod health;
mod hub;
mod metrics;
mod protocol;
mod session;
mod subscriptions;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use access::Verifier;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpServer};
use broker::SharedBroker;
use tokio_util::sync::CancellationToken;

pub use config::GatewayConfig;

use crate::hub::Hub;

/// A running gateway. Cloning shares it.
#[derive(Clone)]
pub struct Gateway {
    hub: Arc<Hub>,
    broker: SharedBroker,
    verifier: Verifier,
    config: Arc<GatewayConfig>,
}

impl Gateway {
    /// Begins to read the history; connections come by [`routes`].
    #[must_use]
    pub fn start(config: &GatewayConfig, broker: SharedBroker, verifier: Verifier) -> Self {
        let hub = Arc::new(Hub::new());
        tokio::spawn(hub::follow_history(hub.clone(), broker.clone()));
        tokio::spawn(hub::follow_control(hub.clone(), broker.clone()));
        Self { hub, broker, verifier, config: Arc::new(config.clone()) }
    }

    /// Takes no new connections, tells each client to come back at a time of its own, and closes
    /// them in even slices over `within`.
    pub async fn drain(&self, within: Duration) {
        self.hub.drain(within).await;
    }
}

/// Mounts `GET /v1/ws`.
pub fn routes(gateway: Gateway) -> impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static {
    move |config: &mut ServiceConfig| {
        config
            .app_data(Data::new(gateway))
            .service(web::resource("/v1/ws").route(web::get().to(upgrade::upgrade)));
    }
}

/// How long open connections are given to leave at a stop.
const DRAIN: Duration = Duration::from_secs(15);

/// Serves the gateway by itself until `stop`.
///
/// # Errors
/// When the listener cannot be served.
pub async fn serve(
    gateway: Gateway,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let draining = gateway.clone();
    let server = HttpServer::new(move || {
        App::new()
            .configure(routes(gateway.clone()))
            .route("/healthz", web::get().to(health::healthz))
            .route("/readyz", web::get().to(health::readyz))
            .route("/metrics", web::get().to(health::metrics))
    })
    .tcp_nodelay(true)
    .client_request_timeout(Duration::from_secs(10))
    // What a burst grows a connection's buffer to stays with it for life.
    .h1_write_buffer_size(8 * 1024)
    .shutdown_timeout(5)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.cancelled().await;
        draining.drain(DRAIN).await;
        handle.stop(true).await;
    });
    server.await
}
