//! The HTTP API: manages webhooks, takes events, shows what happened (`docs/specification.md`).
//!
//! A handler's arguments are proofs: a [`caller::Reader`] may read, a [`body::Fields`] is a JSON
//! object. Every route is in [`routes`], with the right that is proven before anything else
//! ([`caller`]); every error becomes HTTP in [`error`].

mod audit;
mod body;
mod caller;
mod catalogue;
mod config;
mod cors;
mod cursor;
mod docs_page;
mod envelope;
mod error;
mod event_input;
mod events;
mod head;
mod health;
mod idempotency;
mod jobs;
mod json;
mod kept;
mod kept_keys;
mod limits;
mod logs;
mod metrics;
mod openapi;
mod query;
mod requests;
mod routes;
mod seed;
mod sent;
mod sign_out;
mod validation;
mod view;
mod webhooks;

use std::sync::Arc;

use access::Verifier;
use actix_web::{App, HttpServer};
use broker::SharedBroker;
use delivery::Sender;
use listener::Door;
use store::Store;
use tokio_util::sync::CancellationToken;

pub use config::ApiConfig;
pub use cors::Origins;
pub use openapi::document as openapi;
pub use requests::observe;
pub use routes::routes;

/// What the handlers share. Cloning is cheap.
#[derive(Clone)]
pub struct Api {
    store: Store,
    broker: SharedBroker,
    sender: Sender,
    verifier: Verifier,
    limits: Arc<limits::RateLimits>,
    kept: Arc<kept::KeptAnswers>,
    key_bounds: Arc<kept_keys::KeyBounds>,
    config: Arc<ApiConfig>,
    door: Arc<Door>,
}

impl Api {
    /// An API over these parts.
    #[must_use]
    pub fn new(
        config: ApiConfig,
        store: Store,
        broker: SharedBroker,
        sender: Sender,
        verifier: Verifier,
    ) -> Self {
        let limits = Arc::new(limits::RateLimits::new(&config));
        let kept = Arc::new(kept::KeptAnswers::new(config.kept_answers));
        let key_bounds = Arc::new(kept_keys::KeyBounds::new(&config));
        let door = Door::new(config.door());
        let config = Arc::new(config);
        Self { store, broker, sender, verifier, limits, kept, key_bounds, config, door }
    }

    /// The door of the API's own listener.
    #[must_use]
    pub fn door(&self) -> Arc<Door> {
        self.door.clone()
    }
}

/// Serves the API until `stop`; requests under way get 10 s to finish.
///
/// # Errors
/// When the listener cannot be served.
pub async fn serve(
    api: Api,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let door = api.door();
    let server = HttpServer::new(move || App::new().configure(routes(api.clone())));
    let server = listener::serve_at(server.shutdown_timeout(10), listener, &door)?.run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.cancelled().await;
        handle.stop(true).await;
    });
    server.await
}
