//! A channel in confirm mode that many publishers share: one task sends what they hand it and
//! gives each its own verdict.
//!
//! One task, because lapin counts confirms in the order of sending and gives a returned message
//! to whichever confirm comes next: only who sees all confirms of a channel, in their order, can
//! tell which publication was returned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lapin::message::{BasicReturnMessage, Delivery};
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, ConnectionStatus};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::amqp::properties;
use crate::{Outgoing, PublishError};

/// Publications that wait for their confirm on one channel, at most, in number and in bytes.
const MOST: usize = 2_048;
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Publications that wait to be sent; more wait at the door.
const WAITING: usize = 1_024;

/// How often a blocked connection is noticed while publications wait.
const LOOK: Duration = Duration::from_millis(100);

/// What a blocked connection means.
pub(super) const BLOCKED: &str = "the broker is out of memory or disk space (connection.blocked)";

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) exchange: &'static str,
    pub(super) key: ShortString,
}

/// A message to send, and who waits for the verdict.
pub(super) struct Parcel {
    pub(super) address: Address,
    /// Whether a message without a queue is a failure.
    pub(super) mandatory: bool,
    pub(super) message: Outgoing,
    pub(super) verdict: oneshot::Sender<Result<(), PublishError>>,
}

/// The publishers' end.
#[derive(Clone)]
pub(super) struct Courier {
    pub(super) parcels: mpsc::Sender<Parcel>,
    pub(super) channel: Channel,
    pub(super) connection: ConnectionStatus,
}

impl Courier {
    /// Begins to send on `channel`, which is in confirm mode. `lost` is called when it ends,
    /// `missing` is told when a message found no queue.
    pub(super) fn start(
        channel: Channel,
        connection: ConnectionStatus,
        lost: impl FnOnce() + Send + 'static,
        missing: Arc<Notify>,
        runtime: &Handle,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (parcels, incoming) = mpsc::channel(WAITING);
        let ledger = Ledger::new(channel.clone(), connection.clone(), missing);
        let task = runtime.spawn(async move {
            ledger.run(incoming).await;
            lost();
        });
        (Self { parcels, channel, connection }, task)
    }

    pub(super) fn works(&self) -> bool {
        self.connection.connected() && self.channel.status().connected()
    }
}

type Confirmed = (u64, lapin::Result<Confirmation>);
type Confirm = std::pin::Pin<Box<dyn Future<Output = Confirmed> + Send>>;

/// What is under way on a channel.
struct Ledger {
    channel: Channel,
    connection: ConnectionStatus,
    confirms: FuturesUnordered<Confirm>,
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    sent: u64,
    /// The last publication that may have been the returned one, by address.
    returned: HashMap<Address, (u64, String)>,
    missing: Arc<Notify>,
}

struct Waiting {
    address: Address,
    bytes: usize,
    verdict: oneshot::Sender<Result<(), PublishError>>,
}

impl Ledger {
    fn new(channel: Channel, connection: ConnectionStatus, missing: Arc<Notify>) -> Self {
        Self {
            channel,
            connection,
            confirms: FuturesUnordered::new(),
            waiting: BTreeMap::new(),
            bytes: 0,
            sent: 0,
            returned: HashMap::new(),
            missing,
        }
    }

    /// Ends when the channel is lost, or when nobody publishes any more and all is confirmed.
    async fn run(mut self, mut parcels: mpsc::Receiver<Parcel>) {
        let mut batch = Vec::with_capacity(WAITING);
        let mut look = tokio::time::interval(LOOK);
        let mut open = true;
        while open || !self.confirms.is_empty() {
            let room = self.confirms.len() < MOST && self.bytes < MOST_BYTES;
            tokio::select! {
                biased;
                Some(first) = self.confirms.next() => self.settle_all(first),
                taken = parcels.recv_many(&mut batch, WAITING), if open && room => {
                    open = taken > 0;
                    batch.drain(..).for_each(|parcel| self.send(parcel));
                }
                _ = look.tick() => self.look(),
            }
            if !self.channel.status().connected() {
                break;
            }
        }
        parcels.close();
        self.give_up("the connection to the broker was lost");
        while let Ok(parcel) = parcels.try_recv() {
            answer(parcel.verdict, Err(unavailable("the connection to the broker was lost")));
        }
    }

    fn send(&mut self, parcel: Parcel) {
        if self.connection.blocked() {
            return answer(parcel.verdict, Err(unavailable(BLOCKED)));
        }
        let Parcel { address, mandatory, message, verdict } = parcel;
        self.sent += 1;
        let (number, bytes) = (self.sent, message.body.len());
        let properties = properties::outgoing(&message);
        let channel = self.channel.clone();
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let (exchange, key) = (ShortString::from(address.exchange), address.key.clone());
        // Sent at its first poll, and polled in this order.
        self.confirms.push(Box::pin(async move {
            (number, publish(channel, exchange, key, options, message, properties).await)
        }));
        self.bytes += bytes;
        self.waiting.insert(number, Waiting { address, bytes, verdict });
    }

    /// Settles a publication, and all others that are confirmed by now. The confirm that carries a
    /// returned message comes no later than that of the message itself, but may be seen after it:
    /// so all are looked at before any is answered.
    fn settle_all(&mut self, first: Confirmed) {
        let mut confirmed = vec![first];
        while let Some(Some(next)) = self.confirms.next().now_or_never() {
            confirmed.push(next);
        }
        for (_, confirmation) in &confirmed {
            if let Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) =
                confirmation
            {
                self.note_returned(returned);
            }
        }
        confirmed.into_iter().for_each(|(number, confirmed)| self.settle(number, confirmed));
    }

    fn settle(&mut self, number: u64, confirmed: lapin::Result<Confirmation>) {
        let stored = match confirmed {
            Ok(Confirmation::Ack(_)) => Ok(()),
            Ok(Confirmation::Nack(_)) => {
                Err(PublishError::Refused("a queue is full or could not store it".to_owned()))
            }
            Ok(Confirmation::NotRequested) => Err(unavailable("the channel has no confirms")),
            Err(error) => Err(unavailable(&error.to_string())),
        };
        let Some(waiting) = self.waiting.remove(&number) else {
            return; // It was told long ago that the connection is blocked.
        };
        self.bytes -= waiting.bytes;
        let refused = self.returned.get(&waiting.address).filter(|(last, _)| number <= *last);
        let verdict = match refused {
            Some((_, reason)) => Err(PublishError::Refused(reason.clone())),
            None => stored,
        };
        if self.waiting.is_empty() {
            self.returned.clear();
        }
        answer(waiting.verdict, verdict);
    }

    /// Which of those under way to its address was returned cannot be told: all of them count as
    /// refused, and are published again.
    fn note_returned(&mut self, returned: &BasicReturnMessage) {
        self.missing.notify_one();
        let Delivery { exchange, routing_key, .. } = &returned.delivery;
        let reason = format!("{} ({routing_key} of {exchange:?})", returned.reply_text);
        let mut known = self.waiting.values().map(|waiting| &waiting.address);
        let address = known
            .find(|address| address.exchange == exchange.as_str() && &address.key == routing_key)
            .cloned();
        match address {
            Some(address) => drop(self.returned.insert(address, (self.sent, reason))),
            // Its publisher has given up; nobody is told what is not true.
            None => tracing::debug!("a message came back that nobody waits for: {reason}"),
        }
    }

    /// Nobody waits for a broker that has stopped reading.
    fn look(&mut self) {
        if self.connection.blocked() && !self.waiting.is_empty() {
            self.give_up(BLOCKED);
        }
    }

    fn give_up(&mut self, reason: &str) {
        self.bytes = 0;
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            answer(waiting.verdict, Err(unavailable(reason)));
        }
    }
}

async fn publish(
    channel: Channel,
    exchange: ShortString,
    key: ShortString,
    options: BasicPublishOptions,
    message: Outgoing,
    properties: BasicProperties,
) -> lapin::Result<Confirmation> {
    channel.basic_publish(exchange, key, options, &message.body, properties).await?.await
}

pub(super) fn unavailable(reason: &str) -> PublishError {
    PublishError::Unavailable(reason.to_owned())
}

fn answer(verdict: oneshot::Sender<Result<(), PublishError>>, result: Result<(), PublishError>) {
    // A publisher that has given up waiting is not there to be told.
    verdict.send(result).ok();
}
