//! The queue worker: takes events, finds the webhooks that want them, makes the attempts,
//! records the outcomes, plans the retries, and acknowledges last.
//!
//! One event's walk: [`intake`] (read, match) → [`attempts`] (slot, attempt, verdict) →
//! [`recorder`] (store, then retry queue, then acknowledgement). The order of the last three is
//! what makes a crash at any point harmless; see `docs/architecture.md`.

mod announcing;
mod attempts;
mod audit_retention;
mod backlog;
mod circuit;
mod claims;
mod company;
mod config;
mod drain;
mod exhaustion;
mod files;
mod gate;
mod gauges;
mod holding;
mod intake;
mod jobs;
mod limit;
mod metrics;
mod notices;
mod ordered;
mod pace;
mod progress;
mod recorder;
mod rejected;
mod retention;
mod retries;
mod room;
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
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::DispatcherConfig;
pub use watch::Watch;

use crate::announcing::Announcer;
use crate::backlog::Backlogs;
use crate::claims::Claims;
use crate::exhaustion::Exhaustion;
use crate::files::Files;
use crate::holding::Lanes;
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

/// Deliveries that came before their time and wait for it in memory, at most; the rows of the others
/// bring them back.
const EARLY: usize = 1_024;

/// How long a stop waits for what is handed back.
const HANDED_BACK_WITHIN: Duration = Duration::from_millis(1_200);

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
    holding: Lanes,
    backlogs: Backlogs,
    /// Told when a webhook was changed, made or deleted.
    webhooks_changed: Notify,
    /// How long a delivery may outlive its schedule while its endpoint does not answer.
    give_up_after: Duration,
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
    /// The grace period is over: what is under way goes back.
    hand_back: CancellationToken,
}

/// Works until `stop`, then takes nothing new, finishes what is under way within the grace
/// period, hands back the rest and returns. The broker and the store stay open.
pub async fn run(parts: Parts, stop: CancellationToken) {
    let Parts { store, broker, sender, schedule, retention, audit_retention, config, watch } =
        parts;
    let tasks = TaskTracker::new();
    let (notices, told) = Notices::new();
    let judge = (notices.clone(), notices::rules(&schedule, &config));
    let (announcer, changes) = Announcer::new();
    let (backlogs, news) = Backlogs::new(&config, announcer);
    let reporter = backlogs.reporter();
    let (recorder, recording) =
        recorder::start(store.clone(), broker.clone(), &config, judge, reporter, stop.clone());
    let files = Arc::new(Files::new());
    let slots = Arc::new(Slots::new(&config, files.clone()));
    let context = Arc::new(Context {
        subscribers: Subscribers::new(store.clone(), slots.clone(), &config),
        claims: Claims::new(config.remembered_events),
        slots,
        holding: Lanes::new(&config),
        backlogs,
        webhooks_changed: Notify::new(),
        give_up_after: schedule.total() + config.give_up_after,
        patience: Semaphore::new(EARLY),
        suspects: Semaphore::new(1),
        progress: Progress::of(store.clone()),
        metrics: metrics::Metrics::new(),
        clock: SteadyClock::start(),
        stop: stop.clone(),
        hand_back: CancellationToken::new(),
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
        tokio::spawn(files.watch(stop.clone())),
        tokio::spawn(gauges::run(context.clone())),
        tokio::spawn(backlog::run(context.clone(), news)),
        tokio::spawn(announcing::run(context.clone(), changes)),
        tokio::spawn(ordered::run(context.clone())),
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
        context.hand_back.cancel();
        tokio::time::timeout(HANDED_BACK_WITHIN, tasks.wait()).await.ok();
    }
    let ending = (context.store.clone(), context.broker.clone(), context.backlogs.holder());
    // The recorder ends once nobody can send it anything more.
    drop(context);
    if tokio::time::timeout_at(end, recording).await.is_err() {
        tracing::warn!("the last outcomes were not recorded; their messages come again");
    }
    backlog::release(ending).await;
}
