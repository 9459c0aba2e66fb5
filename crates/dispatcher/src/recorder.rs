//! Writes outcomes in batches, then plans the retries, then settles the messages: in this
//! order, so that a crash in between loses nothing and doubles nothing.
//!
//! - Recorded before the retry is published: after a crash in between, the message comes back,
//!   finds its attempt recorded, and plans the retry. The other order would attempt twice.
//! - Settled last: whatever is not settled comes again.

use std::time::Duration;

use broker::{Outgoing, PublishError, SharedBroker, Target};
use rand::RngExt;
use store::{HealthRules, Outcome, Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::DispatcherConfig;
use crate::backlog::Reporter;
use crate::claims::Held;
use crate::notices::Notices;

/// How long a stop waits for the last batch after everything else has ended.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);

/// Something settled: to be recorded, published on, acknowledged.
pub(crate) struct Finished {
    /// What to record; `None` when it is recorded already.
    pub(crate) outcome: Option<Outcome>,
    /// The message that carries the delivery on.
    pub(crate) next: Option<(Target, Outgoing)>,
    /// Settled at the end.
    pub(crate) held: Held,
}

/// Where finished work is sent. What waits is bounded by what is under way.
#[derive(Clone)]
pub(crate) struct Recorder {
    finished: mpsc::Sender<Finished>,
    working: watch::Receiver<bool>,
}

impl Recorder {
    /// Hands over finished work.
    pub(crate) async fn finish(&self, finished: Finished) {
        // The recorder ends after everybody who could call this.
        drop(self.finished.send(finished).await);
    }

    /// Waits for room for one piece of finished work; `None` at a stop.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, Finished>> {
        self.finished.reserve().await.ok()
    }

    /// Waits until outcomes can be recorded and retries published: nothing new is taken before.
    pub(crate) async fn ready(&self) {
        if *self.working.borrow() {
            return;
        }
        let mut working = self.working.clone();
        drop(working.wait_for(|working| *working).await);
    }
}

struct Writer {
    store: Store,
    broker: SharedBroker,
    notices: Notices,
    backlogs: Reporter,
    rules: HealthRules,
    working: watch::Sender<bool>,
    stop: CancellationToken,
}

/// Starts recording; the handle ends once every [`Recorder`] is dropped and all is written.
pub(crate) fn start(
    store: Store,
    broker: SharedBroker,
    config: &DispatcherConfig,
    (notices, rules): (Notices, HealthRules),
    backlogs: Reporter,
    stop: CancellationToken,
) -> (Recorder, JoinHandle<()>) {
    let (finished, receiver) = mpsc::channel(1_024);
    let (working, watched) = watch::channel(true);
    let writer = Writer { store, broker, notices, backlogs, rules, working, stop };
    let recording = writer.run(receiver, config.record_batch.max(1), config.record_linger);
    (Recorder { finished, working: watched }, tokio::spawn(recording))
}

impl Writer {
    async fn run(self, mut finished: mpsc::Receiver<Finished>, most: usize, linger: Duration) {
        let mut batch = Vec::with_capacity(most);
        while let Some(first) = finished.recv().await {
            batch.push(first);
            gather(&mut finished, &mut batch, most, linger).await;
            if self.write(&mut batch).await.is_err() {
                // Stopping while the store or the broker is away: dropped parts are handed back.
                batch.clear();
            }
        }
    }

    /// Records, publishes, settles; comes back when all of it is done, or at a stop.
    async fn write(&self, batch: &mut Vec<Finished>) -> Result<(), Stopped> {
        let outcomes: Vec<Outcome> = batch.iter_mut().filter_map(|f| f.outcome.take()).collect();
        if !outcomes.is_empty() {
            self.record(&outcomes).await?;
        }
        let next: Vec<_> = batch.iter_mut().filter_map(|f| f.next.take()).collect();
        if !next.is_empty() {
            self.publish(next).await?;
        }
        batch.drain(..).for_each(|finished| finished.held.settle());
        Ok(())
    }

    async fn record(&self, outcomes: &[Outcome]) -> Result<(), Stopped> {
        let mut pause = Pause::default();
        loop {
            let holder = self.backlogs.holder();
            match self.store.record_and_judge(outcomes, Some(&self.rules), holder.as_deref()).await
            {
                Ok(written) => {
                    self.notices.post(written.notices);
                    self.backlogs.recorded(outcomes, &written.begun, holder.as_ref());
                    self.resume("the store is back: outcomes are recorded");
                    return Ok(());
                }
                Err(error) => self.wait(&mut pause, &store_trouble(&error)).await?,
            }
        }
    }

    async fn publish(&self, mut messages: Vec<(Target, Outgoing)>) -> Result<(), Stopped> {
        let mut pause = Pause::default();
        loop {
            let results = self.broker.publish_all(messages.clone()).await;
            let failed: Vec<Option<PublishError>> = results.into_iter().map(Result::err).collect();
            let mut reasons = failed.iter();
            messages.retain(|_| reasons.next().is_some_and(Option::is_some));
            let Some(error) = failed.into_iter().flatten().next() else {
                self.resume("the broker is back: retries are planned");
                return Ok(());
            };
            self.wait(&mut pause, &format!("retries cannot be planned: {error}")).await?;
        }
    }

    /// Takes nothing new until the trouble is over.
    async fn wait(&self, pause: &mut Pause, trouble: &str) -> Result<(), Stopped> {
        if self.working.send_replace(false) {
            tracing::warn!("no new work is taken: {trouble}");
        }
        tokio::select! {
            () = self.stop.cancelled() => {
                // One more try a second for as long as the stop allows.
                tokio::time::sleep(pause.next().min(Duration::from_secs(1))).await;
                if pause.tries > STOPPING_TRIES { Err(Stopped) } else { Ok(()) }
            }
            () = tokio::time::sleep(pause.next()) => Ok(()),
        }
    }

    fn resume(&self, message: &str) {
        if !self.working.send_replace(true) {
            tracing::info!("{message}");
        }
    }
}

/// The process stops and what is left goes back to the broker.
struct Stopped;

/// Tries of a write that goes on failing while the process stops.
const STOPPING_TRIES: u32 = 20;

/// Growing pauses, 0.1 to 2 s, with jitter.
#[derive(Default)]
struct Pause {
    tries: u32,
}

impl Pause {
    fn next(&mut self) -> Duration {
        self.tries += 1;
        let most = 100_u64 << self.tries.min(4);
        Duration::from_millis(rand::rng().random_range(most / 2..=most))
    }
}

fn store_trouble(error: &StoreError) -> String {
    format!("outcomes cannot be recorded: {error}")
}

/// Waits a moment for more: many outcomes in one transaction cost little more than one.
async fn gather(
    finished: &mut mpsc::Receiver<Finished>,
    batch: &mut Vec<Finished>,
    most: usize,
    linger: Duration,
) {
    let until = tokio::time::Instant::now() + linger;
    while batch.len() < most {
        match tokio::time::timeout_at(until, finished.recv_many(batch, most - batch.len())).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
