//! `studio-webhooks all`: the three services in one process, on the API's address.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use access::Verifier;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer};
use api::Api;
use broker::SharedBroker;
use delivery::Sender;
use dispatcher::{Parts, Watch};
use gateway::Gateway;
use listener::{Door, Rules};
use operate::Served;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::commands::operators::{self, Operators};
use crate::commands::parts;
use crate::config::Settings;
use crate::sign_outs::Keeper;

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    parts::serve("all", s, |stop| async move {
        let opened = Opened::open(s, &stop).await?;
        let listener = parts::listen("api.bind", &s.api.bind)?;
        let operators = operators::listen(s, operators::WITH_API)?;
        tracing::info!("API and WebSockets listen on http://{}", listener.local_addr()?);
        opened.serve(s, listener, operators, stop).await
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

    /// Serves everything until `stop`: users at `listener`, operators at `operators`.
    pub(super) async fn serve(
        self,
        s: &Settings,
        listener: TcpListener,
        operators: Option<TcpListener>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { verifier, sender, broker, store } = self;
        Keeper::new(&store, &broker, verifier.sign_outs()).start(&stop).await;
        let gateway = Gateway::start(&s.gateway, broker.clone(), verifier.clone());
        let api = Api::new(s.api.clone(), store.clone(), broker.clone(), sender.clone(), verifier);
        // The API's listener has the WebSockets, too.
        let door = Door::new(Rules { name: "all", ..s.api.door() });
        let watch = Watch::new(store.clone(), broker.clone());
        let served = Served {
            services: vec![Arc::new(api.clone()), Arc::new(gateway.clone()), watch.clone()],
            doors: vec![("all", door.clone())],
            hosts: Vec::new(),
        };
        let operators = Operators::serve(s, operators, served, &broker)?;
        let work = Parts {
            store: store.clone(),
            broker: broker.clone(),
            sender,
            schedule: parts::schedule(s),
            retention: s.database.retention,
            audit_retention: s.database.audit_retention,
            config: s.dispatcher.clone(),
            watch,
        };
        let dispatching = tokio::spawn(dispatcher::run(work, stop.clone()));
        http(api, gateway, listener, door, stop.clone()).await?;
        // The server may have ended by itself: the rest ends with it.
        stop.cancel();
        dispatching.await?;
        operators.end().await;
        broker.close().await;
        store.close().await;
        Ok(())
    }
}

async fn http(
    api: Api,
    gateway: Gateway,
    listener: TcpListener,
    door: Arc<Door>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let sockets = gateway.clone();
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(api::observe))
            .configure(gateway::routes(gateway.clone()))
            .configure(api::routes(api.clone()))
    })
    .h1_write_buffer_size(gateway::WRITE_BUFFER)
    .shutdown_timeout(10);
    let server = listener::serve_at(server, listener, &door)?.run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.cancelled().await;
        sockets.drain().await;
        handle.stop(true).await;
    });
    server.await
}
