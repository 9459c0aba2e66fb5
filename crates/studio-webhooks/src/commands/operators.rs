//! The operators' listener of a service, and the socket for operators' commands.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use broker::SharedBroker;
use listener::{Door, Rules};
use operate::Served;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::commands::parts;
use crate::config::{Settings, env_key};
use crate::operator::socket::Socket;

/// Connections of one address to an operators' listener: its limit is there so that one who
/// forgets to close them leaves room for others.
const PER_ADDRESS: usize = 256;

/// Where `api` and `all` serve operators when nothing is set.
pub(super) const WITH_API: &str = "127.0.0.1:9080";

/// Where `gateway` does.
pub(super) const WITH_GATEWAY: &str = "127.0.0.1:9081";

/// What is served to operators while a service runs. It outlives the work: a process that
/// finishes what is under way is alive.
pub(super) struct Operators {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Operators {
    /// Begins to serve: at `listener`, where there is one, and, for commands, at the socket
    /// beside the file of an embedded broker.
    ///
    /// # Errors
    /// When the listener cannot be served.
    pub(super) fn serve(
        s: &Settings,
        listener: Option<TcpListener>,
        served: Served,
        broker: &SharedBroker,
    ) -> anyhow::Result<Self> {
        let (stop, mut tasks) = (CancellationToken::new(), Vec::new());
        if let Some(listener) = listener {
            let served = Served { hosts: names(s, &listener)?, ..served };
            let serving = operate::serve(served, listener, door(s), stop.clone());
            tasks.push(tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!("the operators' listener ended: {error}");
                }
            }));
        }
        match Socket::bind(s) {
            Ok(Some(socket)) => {
                let (runtime, broker, stop) = (Handle::current(), broker.clone(), stop.clone());
                let serving = move || socket.serve(&runtime, broker, stop);
                tasks.push(tokio::task::spawn_blocking(serving));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(
                "the commands queues, rejected and erase cannot reach this process: {error:#}"
            ),
        }
        Ok(Self { stop, tasks })
    }

    /// Ends it.
    pub(super) async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            // It only serves; how it ended was said by itself.
            task.await.ok();
        }
    }
}

/// The listener at the address that is set; at `usual` where none is. None where the setting is
/// empty, and, with a warning, where the usual port is taken.
///
/// # Errors
/// When the address that is set cannot be listened on.
pub(super) fn listen(s: &Settings, usual: &str) -> anyhow::Result<Option<TcpListener>> {
    let listener = match s.operate.bind.as_deref().map(str::trim) {
        Some("") => return Ok(None),
        Some(address) => parts::listen("operate.bind", address)?,
        None => match parts::listen("operate.bind", usual) {
            Ok(listener) => listener,
            Err(_) => {
                tracing::warn!(
                    "{usual} is taken: metrics and details of health are not served; set {} to \
                     another address, or to nothing",
                    env_key("operate.bind")
                );
                return Ok(None);
            }
        },
    };
    tracing::info!("operators are served on http://{}", listener.local_addr()?);
    Ok(Some(listener))
}

/// The rules of an operators' listener.
fn door(s: &Settings) -> Arc<Door> {
    Door::new(Rules {
        name: "operate",
        stalled_after: s.api.stalled_after,
        per_address: PER_ADDRESS,
        setting: "an operators' listener",
        proxies: access::Proxies::default(),
    })
}

/// The names that it may be called by: those that are set, and the one that it was told to
/// listen on.
fn names(s: &Settings, listener: &TcpListener) -> anyhow::Result<Vec<String>> {
    let address = listener.local_addr().context("the operators' listener")?;
    let binds = [s.operate.bind.as_deref().unwrap_or_default(), s.dispatcher.bind.as_str()];
    let own = binds.iter().filter_map(|bind| bind.rsplit_once(':'));
    let own = own.filter(|(_, port)| port.parse() == Ok(address.port()));
    let own = own.map(|(name, _)| name.to_owned());
    Ok(s.operate.hosts.iter().cloned().chain(own).collect())
}
