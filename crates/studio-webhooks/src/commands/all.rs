//! `studio-webhooks all`: the three services in one process, on the API's address.

use std::process::ExitCode;
use std::time::Duration;

use access::Verifier;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer};
use api::Api;
use broker::SharedBroker;
use delivery::Sender;
use dispatcher::Parts;
use gateway::Gateway;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::commands::parts;
use crate::config::Settings;
use crate::operator::{self, Operated};

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    parts::serve("all", s, |stop| async move {
        let opened = Opened::open(s, &stop).await?;
        let listener = parts::listen("api.bind", &s.api.bind)?;
        tracing::info!("API and WebSockets listen on http://{}", listener.local_addr()?);
        opened.serve(s, listener, stop).await
    })
}

/// What the services need, opened: every setting is right.
pub(super) struct Opened {
    verifier: Verifier,
    sender: Sender,
    broker: SharedBroker,
    store: Store,
}

impl Opened {
    pub(super) async fn open(s: &Settings, stop: &CancellationToken) -> anyhow::Result<Self> {
        Ok(Self {
            verifier: parts::verifier(s)?,
            sender: parts::sender(s)?,
            store: parts::ready_store(s, stop).await?,
            broker: parts::broker(s).await?,
        })
    }

    /// Serves everything until `stop`.
    pub(super) async fn serve(
        self,
        s: &Settings,
        listener: std::net::TcpListener,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { verifier, sender, broker, store } = self;
        let gateway = Gateway::start(&s.gateway, broker.clone(), verifier.clone());
        let operated = Operated { broker: broker.clone(), verifier: verifier.clone() };
        let api = Api::new(s.api.clone(), store.clone(), broker.clone(), sender.clone(), verifier);
        let work = Parts {
            store: store.clone(),
            broker: broker.clone(),
            sender,
            schedule: parts::schedule(s),
            retention: s.database.retention,
            audit_retention: s.database.audit_retention,
            config: s.dispatcher.clone(),
        };
        let dispatching = tokio::spawn(dispatcher::run(work, stop.clone()));
        http(api, gateway, operated, listener, stop.clone()).await?;
        // The server may have ended by itself: the rest ends with it.
        stop.cancel();
        dispatching.await?;
        broker.close().await;
        store.close().await;
        Ok(())
    }
}

async fn http(
    api: Api,
    gateway: Gateway,
    operated: Operated,
    listener: std::net::TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let sockets = gateway.clone();
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(api::observe))
            .configure(gateway::routes(gateway.clone()))
            .configure(operator::routes(operated.clone()))
            .configure(api::routes(api.clone()))
    })
    .tcp_nodelay(true)
    .client_request_timeout(Duration::from_secs(10))
    .h1_write_buffer_size(gateway::WRITE_BUFFER)
    .shutdown_timeout(10)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.cancelled().await;
        sockets.drain().await;
        handle.stop(true).await;
    });
    server.await
}
