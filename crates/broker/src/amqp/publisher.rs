//! Publishing, on connections of its own: an alarm of the broker blocks every connection that
//! has published, its acknowledgements included.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult,
};
use lapin::options::ConfirmSelectOptions;
use lapin::{Connection, ConnectionStatus};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::amqp::courier::{Address, BLOCKED, Courier, Parcel, unavailable};
use crate::amqp::declare::{CONTROL, DeclareError, EVENTS, NOTICES};
use crate::amqp::link::{CONNECT, Link, Pauses};
use crate::{BrokerConfig, Outgoing, PublishError, Target};

/// How often the connections are looked after when nothing is published.
const CARE: Duration = Duration::from_secs(1);

/// Messages that share one deadline.
const TOGETHER: usize = 1_000;

/// Sends to the broker, over couriers on connections that are made anew when they are lost.
pub(super) struct Publisher {
    link: Arc<Link>,
    couriers: Pool<Couriers>,
    timeout: Duration,
    state: watch::Sender<State>,
    /// The connections in use.
    connections: Mutex<Vec<ConnectionStatus>>,
}

#[derive(Clone)]
enum State {
    /// Not tried yet: publishers wait.
    Connecting,
    Up,
    /// Known not to work: publishers are told so at once.
    Down(String),
}

/// Makes connections. One outlives its courier when only the courier's channel was lost.
struct Connections(Arc<Link>);

/// Makes couriers, each on a connection of its own, with everything declared.
struct Couriers {
    link: Arc<Link>,
    connections: Pool<Connections>,
    lost: Arc<Notify>,
    missing: Arc<Notify>,
}

/// A courier and the connection that belongs to it.
struct Employed {
    courier: Courier,
    task: JoinHandle<()>,
    connection: Object<Connections>,
}

/// A courier cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoCourier {
    #[error("{0}")]
    Connection(#[from] PoolError<lapin::Error>),
    #[error("{0}")]
    Broker(#[from] lapin::Error),
    #[error("{0}")]
    Topology(#[from] DeclareError),
}

impl Manager for Connections {
    type Type = Connection;
    type Error = lapin::Error;

    async fn create(&self) -> lapin::Result<Connection> {
        self.0.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<lapin::Error> {
        if connection.status().connected() {
            Ok(())
        } else {
            Err(RecycleError::message("the connection was lost"))
        }
    }
}

impl Manager for Couriers {
    type Type = Employed;
    type Error = NoCourier;

    async fn create(&self) -> Result<Employed, NoCourier> {
        let connection = self.connections.get().await?;
        self.link.furnish(&connection).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let status = connection.status().clone();
        let (link, lost, missing) = (self.link.clone(), self.lost.clone(), self.missing.clone());
        let lost = move || {
            // Also by a publish to an exchange that somebody deleted.
            link.note_missed();
            lost.notify_one();
        };
        let (courier, task) = Courier::start(channel, status, lost, missing, &self.link.handle);
        Ok(Employed { courier, task, connection })
    }

    async fn recycle(&self, employed: &mut Employed, _: &Metrics) -> RecycleResult<NoCourier> {
        if employed.courier.works() {
            Ok(())
        } else {
            Err(RecycleError::message("the connection was lost"))
        }
    }
}

impl Publisher {
    /// Begins to connect, and keeps connected until the link closes.
    pub(super) fn start(link: Arc<Link>, config: &BrokerConfig) -> Arc<Self> {
        let size = usize::from(config.publish_connections.clamp(1, 16));
        let connections = Pool::builder(Connections(link.clone()))
            .max_size(size)
            .build()
            .expect("a pool without time-outs needs no runtime");
        let (lost, missing) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let manager = Couriers {
            link: link.clone(),
            connections,
            lost: lost.clone(),
            missing: missing.clone(),
        };
        // First in, first out: each courier has its turn.
        let couriers = Pool::builder(manager)
            .max_size(size)
            .queue_mode(QueueMode::Fifo)
            .build()
            .expect("a pool without time-outs needs no runtime");
        let publisher = Arc::new(Self {
            link,
            couriers,
            timeout: config.publish_timeout,
            state: watch::Sender::new(State::Connecting),
            connections: Mutex::default(),
        });
        tokio::spawn(keep_connected(publisher.clone(), lost, missing));
        publisher
    }

    /// Publishes and waits for the verdicts.
    pub(super) async fn publish(
        &self,
        messages: Vec<(Target, Outgoing)>,
    ) -> Vec<Result<(), PublishError>> {
        let mut results = Vec::with_capacity(messages.len());
        let mut left = messages.into_iter().peekable();
        while left.peek().is_some() {
            let deadline = Instant::now() + self.timeout;
            let mut verdicts = Vec::with_capacity(TOGETHER.min(left.len()));
            for (target, message) in left.by_ref().take(TOGETHER) {
                let (address, mandatory) = address(&target);
                verdicts.push(self.post(address, mandatory, message, deadline).await);
            }
            for verdict in verdicts {
                results.push(self.verdict(verdict, deadline).await);
            }
        }
        results
    }

    /// Publishes an announcement, whether anybody listens or not.
    pub(super) async fn announce(&self, message: Outgoing) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.timeout;
        let address = Address { exchange: CONTROL, key: "".into() };
        let posted = self.post(address, false, message, deadline).await;
        self.verdict(posted, deadline).await
    }

    async fn post(
        &self,
        address: Address,
        mandatory: bool,
        message: Outgoing,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<(), PublishError>>, PublishError> {
        message.check()?;
        let (verdict, waiting) = oneshot::channel();
        let parcel = Parcel { address, mandatory, message, verdict };
        let handing_over = async {
            let courier = self.courier().await?;
            if courier.connection.blocked() {
                return Err(unavailable(BLOCKED));
            }
            courier.parcels.send(parcel).await.map_err(|_| unavailable("the connection was lost"))
        };
        tokio::time::timeout_at(deadline, handing_over).await.map_err(|_| self.too_slow())??;
        Ok(waiting)
    }

    async fn verdict(
        &self,
        posted: Result<oneshot::Receiver<Result<(), PublishError>>, PublishError>,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let waited = tokio::time::timeout_at(deadline, posted?).await;
        match waited.map_err(|_| self.too_slow())? {
            Ok(verdict) => verdict,
            Err(_) => Err(unavailable("the connection was lost")),
        }
    }

    fn too_slow(&self) -> PublishError {
        unavailable(&format!("no confirm within {} ms", self.timeout.as_millis()))
    }

    /// A courier to hand a message to; the next publisher may get the same.
    async fn courier(&self) -> Result<Courier, PublishError> {
        if matches!(&*self.state.borrow(), State::Connecting) {
            let mut state = self.state.subscribe();
            // The sender lives as long as `self`.
            state.wait_for(|state| !matches!(state, State::Connecting)).await.ok();
        }
        if let State::Down(reason) = &*self.state.borrow() {
            return Err(unavailable(reason));
        }
        match self.couriers.get().await {
            Ok(employed) => Ok(employed.courier.clone()),
            Err(error) => {
                self.note(State::Down(error_text(&error)));
                Err(unavailable(&error_text(&error)))
            }
        }
    }

    /// What is wrong right now, if anything, in words for operators.
    pub(super) fn trouble(&self) -> Option<String> {
        let reason = match &*self.state.borrow() {
            State::Connecting => "connecting".to_owned(),
            State::Down(reason) => reason.clone(),
            State::Up => {
                let connections = self.connections();
                if connections.iter().any(ConnectionStatus::blocked) {
                    BLOCKED.to_owned()
                } else if connections.iter().all(ConnectionStatus::connected) {
                    return None;
                } else {
                    "the connection was lost".to_owned()
                }
            }
        };
        Some(format!("publishing: {reason}"))
    }

    /// Lets what is being published finish, for `longest` at most.
    pub(super) async fn close(&self, longest: Duration) {
        self.state.send_replace(State::Down("it is closed".to_owned()));
        let employed = self.couriers.retain(|_, _| false).removed;
        self.couriers.close();
        let finishing = employed.into_iter().map(|employed| async move {
            let Employed { courier, task, connection } = employed;
            drop(courier);
            task.await.ok();
            connection.close(200, "OK".into()).await.ok();
        });
        tokio::time::timeout(longest, futures::future::join_all(finishing)).await.ok();
    }

    fn connections(&self) -> MutexGuard<'_, Vec<ConnectionStatus>> {
        // No panic can leave the list half-changed.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes every courier in turn, which makes those that are missing.
    async fn look_after(&self) -> Result<(), PoolError<NoCourier>> {
        let mut employed = Vec::new();
        for _ in 0..self.couriers.status().max_size {
            employed.push(self.couriers.get().await?);
        }
        *self.connections() = employed.iter().map(|e| e.courier.connection.clone()).collect();
        Ok(())
    }

    fn note(&self, state: State) {
        self.state.send_if_modified(|known| {
            match (&*known, &state) {
                (State::Down(before), State::Down(now)) if before == now => return false,
                (State::Up | State::Connecting, State::Down(reason)) => {
                    tracing::warn!("publishing to the broker does not work: {reason}");
                }
                (State::Down(_), State::Up) => tracing::info!("publishing to the broker works"),
                _ => {}
            }
            *known = state;
            true
        });
    }
}

fn address(target: &Target) -> (Address, bool) {
    match target {
        Target::Events(kind) => (Address { exchange: EVENTS, key: kind.as_str().into() }, true),
        Target::Queue(queue) => (Address { exchange: "", key: queue.to_string().into() }, true),
        // Whether anybody listens is not ours to know.
        Target::Notices(key) => (Address { exchange: NOTICES, key: (*key).into() }, false),
    }
}

/// Without deadpool's own words around it.
fn error_text(error: &PoolError<NoCourier>) -> String {
    match error {
        PoolError::Backend(NoCourier::Connection(PoolError::Backend(error))) => error.to_string(),
        PoolError::Backend(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// Connects before the first publish needs it, and again after a loss, for as long as the link
/// lives.
async fn keep_connected(publisher: Arc<Publisher>, lost: Arc<Notify>, missing: Arc<Notify>) {
    let closing = publisher.link.closing.clone();
    let mut pauses = Pauses::default();
    loop {
        let looking = tokio::time::timeout(CONNECT, publisher.look_after());
        let looked = tokio::select! {
            () = closing.cancelled() => return,
            looked = looking => looked,
        };
        let trouble = match looked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error_text(&error)),
            Err(_) => Some("it does not answer".to_owned()),
        };
        let up = trouble.is_none();
        publisher.note(trouble.map_or(State::Up, State::Down));
        let pause = if up { CARE } else { pauses.next() };
        tokio::select! {
            () = closing.cancelled() => return,
            () = lost.notified(), if up => pauses = Pauses::default(),
            // Somebody deleted a queue: without it nothing could be planned any more.
            () = missing.notified(), if up => publisher.link.declare_again().await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
