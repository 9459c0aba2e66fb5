//! A place for one test: a broker that nobody else uses, which can be closed and opened again.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bench::servers::RabbitMq;
use broker::{
    BrokerConfig, Consumer, Health, HistoryEntry, HistoryReader, Incoming, Outgoing, SharedBroker,
    Target,
};
use domain::EventType;
use tempfile::TempDir;

/// Whatever a test waits for comes within this time, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must come to be sure that nothing comes.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

pub(crate) struct Room {
    pub(crate) config: BrokerConfig,
    /// Of the embedded file.
    pub(crate) folder: TempDir,
}

impl Room {
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("embedded://{}", folder.path().join("queues/studio.db").display());
        Self { config: config(url), folder }
    }

    pub(crate) async fn rabbitmq() -> Self {
        static ROOMS: AtomicU32 = AtomicU32::new(1);
        let name = format!("room-{}", ROOMS.fetch_add(1, Ordering::Relaxed));
        let url = tokio::task::spawn_blocking(move || RabbitMq::shared().vhost(&name).unwrap());
        Self { config: config(url.await.unwrap()), folder: tempfile::tempdir().unwrap() }
    }

    /// The broker, once it works.
    pub(crate) async fn open(&self) -> SharedBroker {
        let broker = broker::open(&self.config).await.unwrap();
        ready(&broker).await;
        broker
    }
}

pub(crate) fn config(url: String) -> BrokerConfig {
    let retry_delays = [1, 2].map(Duration::from_secs).to_vec();
    BrokerConfig { url: url.into(), retry_delays, ..BrokerConfig::default() }
}

/// Waits until publishing and every reader work.
pub(crate) async fn ready(broker: &SharedBroker) {
    let began = Instant::now();
    while let Health::Away(reason) = broker.health() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for a broker that works: {reason}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until `condition` holds.
pub(crate) async fn wait_for<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An event of `usr_1` for `studio.events`; `id` makes it another one.
pub(crate) fn event(id: &str) -> (Target, Outgoing) {
    event_of("usr_1", id)
}

pub(crate) fn event_of(user: &str, id: &str) -> (Target, Outgoing) {
    let body = format!(
        r#"{{"id":"{id}","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"{user}","data":{{"project_id":"proj_1"}}}}"#
    );
    (Target::Events(EventType::ScrapeCompleted), Outgoing::json(body.into()))
}

/// The next message, which must come.
pub(crate) async fn next(consumer: &mut Consumer) -> Incoming {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.expect("a message in time").expect("a broker that is open")
}

pub(crate) async fn nothing(consumer: &mut Consumer) {
    let next = tokio::time::timeout(SILENCE, consumer.next()).await;
    assert!(next.is_err(), "nothing was to come, but {:?} did", next.unwrap());
}

/// The id in the body of an event.
pub(crate) fn id_of(incoming: &Incoming) -> String {
    incoming.event().unwrap().id.to_string()
}

/// The ids of the next entries, up to the mark.
pub(crate) async fn until_caught_up(reader: &mut HistoryReader) -> Vec<String> {
    let (mut ids, began) = (Vec::new(), Instant::now());
    loop {
        match entry(reader).await {
            HistoryEntry::Event(event) => ids.push(event.id.to_string()),
            HistoryEntry::CaughtUp => return ids,
        }
        assert!(began.elapsed() < PATIENCE, "no end after {} entries", ids.len());
    }
}

pub(crate) async fn entry(reader: &mut HistoryReader) -> HistoryEntry {
    let next = tokio::time::timeout(PATIENCE, reader.next()).await;
    next.expect("an entry in time").expect("a broker that is open")
}

/// The id of the next entry, which must be an event.
pub(crate) async fn next_id(reader: &mut HistoryReader) -> String {
    match entry(reader).await {
        HistoryEntry::Event(event) => event.id.to_string(),
        HistoryEntry::CaughtUp => panic!("an event was to come, not the mark"),
    }
}
