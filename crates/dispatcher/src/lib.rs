//! The queue worker: takes events, finds the webhooks that want them, makes the attempts,
//! records the outcomes, plans the retries, and acknowledges last.
//!
//! One event's walk: [`intake`] (read, match) → [`attempts`] (slot, attempt, verdict) →
//! [`recorder`] (store, then retry queue, then acknowledgement). The order of the last three is
//! what makes a crash at any point harmless; see `docs/architecture.md`.

mod attempts;
mod audit_retention;
mod circuit;
mod claims;
mod config;
mod exhaustion;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in with the shares"))]
mod files;
mod gate;
mod intake;
mod jobs;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in with the shares"))]
mod limit;
mod metrics;
mod notices;
mod pace;
mod progress;
mod recorder;
mod rejected;
mod retention;
mod retries;
mod slots;
mod subscribers;
mod suspects;
mod sweep;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use broker::{Queue, SharedBroker};
use delivery::Sender;
use domain::{Schedule, SteadyClock};
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::DispatcherConfig;
pub use watch::Watch;

use crate::claims::Claims;
use crate::exhaustion::Exhaustion;
use crate::notices::{Failing, Notices};
use crate::progress::Progress;
use crate::recorder::Recorder;
use crate::slots::Slots;
use crate::subscribers::Subscribers;

/// What a dispatcher works with.
#[derive(Clone)]
pub struct Parts {
    /// Webhooks and outcomes.
    pub store: Store,
    /// Events and retries.
    pub broker: SharedBroker,
    /// Makes the attempts.
    pub sender: Sender,
    /// When a failed delivery is tried again.
    pub schedule: Schedule,
    /// How long what has ended is kept; zero for ever.
    pub retention: Duration,
    /// How long the audit trail is kept; zero for ever.
    pub audit_retention: Duration,
    /// Its own settings.
    pub config: DispatcherConfig,
    /// What operators see of it.
    pub watch: Arc<Watch>,
}

/// What every task of a running dispatcher shares.
struct Context {
    store: Store,
    broker: SharedBroker,
    sender: Sender,
    schedule: Schedule,
    /// By which deliveries are due.
    clock: SteadyClock,
    subscribers: Subscribers,
    claims: Claims,
    slots: Arc<Slots>,
    /// For deliveries that came too early and wait here.
    patience: Semaphore,
    progress: Progress,
    /// Suspects are worked on one at a time.
    suspects: Semaphore,
    recorder: Recorder,
    notices: Notices,
    failing: Failing,
    exhaustion: Exhaustion,
    metrics: metrics::Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Works until `stop`, then takes nothing new, finishes what is under way within the grace
/// period, hands back the rest and returns. The broker and the store stay open.
pub async fn run(parts: Parts, stop: CancellationToken) {
    let Parts { store, broker, sender, schedule, retention, audit_retention, config, watch } =
        parts;
    let tasks = TaskTracker::new();
    let (notices, told) = Notices::new();
    let judge = (notices.clone(), notices::rules(&schedule, &config));
    let (recorder, recording) =
        recorder::start(store.clone(), broker.clone(), &config, judge, stop.clone());
    let slots = Arc::new(Slots::new(&config));
    let context = Arc::new(Context {
        subscribers: Subscribers::new(store.clone(), slots.clone(), &config),
        claims: Claims::new(config.remembered_events),
        slots,
        patience: Semaphore::new(usize::from(config.deliver_prefetch / 4).max(1)),
        suspects: Semaphore::new(1),
        progress: Progress::of(store.clone()),
        metrics: metrics::Metrics::new(),
        clock: SteadyClock::start(),
        stop: stop.clone(),
        tasks: tasks.clone(),
        store,
        broker,
        sender,
        schedule,
        recorder,
        notices,
        failing: Failing::default(),
        exhaustion: Exhaustion::default(),
    });
    watch.begin(&context);
    let mut lanes = vec![
        tokio::spawn(intake::run(context.clone(), Queue::Dispatch, config.prefetch)),
        tokio::spawn(intake::run(context.clone(), Queue::Deliver, config.deliver_prefetch)),
        tokio::spawn(subscribers::follow_changes(context.clone())),
        tokio::spawn(sweep::run(context.clone(), config.sweep_every)),
        tokio::spawn(jobs::run(context.clone(), config.job_rate)),
        tokio::spawn(notices::run(context.clone(), told)),
        tokio::spawn(notices::watch(context.clone(), config.sweep_every)),
    ];
    if !retention.is_zero() {
        let removing = retention::run(context.clone(), retention, config.retention_every);
        lanes.push(tokio::spawn(removing));
    }
    if !audit_retention.is_zero() {
        let every = config.retention_every;
        lanes.push(tokio::spawn(audit_retention::run(context.clone(), audit_retention, every)));
    }
    stop.cancelled().await;
    let end = tokio::time::Instant::now() + config.grace;
    // The last outcomes must be recorded within the grace period, too.
    let grace = end - recorder::LAST_WORDS.min(config.grace / 4);
    for lane in lanes {
        drop(tokio::time::timeout_at(grace, lane).await);
    }
    tasks.close();
    if tokio::time::timeout_at(grace, tasks.wait()).await.is_err() {
        tracing::warn!("{} deliveries did not finish in time and go back", tasks.len());
    }
    // The recorder ends once nobody can send it anything more.
    drop(context);
    if tokio::time::timeout_at(end, recording).await.is_err() {
        tracing::warn!("the last outcomes were not recorded; their messages come again");
    }
}
