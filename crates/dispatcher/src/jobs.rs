//! Background jobs: ranges of redeliveries, and replays. One dispatcher at a time runs them; what
//! they deliver goes through `studio.deliver` like everything else.
//!
//! A job goes forward in steps: deliveries are recorded as planned, published, and then the job's
//! place is kept. A step that a crash cut short is made again: ids are derived, so that what was
//! recorded is found, and what was attempted is not sent again.

mod range;
mod replay;
mod step;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{JobId, Obstacle, Webhook};
use store::{Job, JobKind, StoreError};
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::Context;

/// How often new jobs are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// For how long one dispatcher runs the jobs; after a crash another takes over once it is over.
const LEASE: Duration = Duration::from_secs(10);

/// Jobs that run at once; the others wait for their turn.
const AT_ONCE: usize = 32;

/// Replays among them: each reads the whole history.
const REPLAYS_AT_ONCE: usize = 4;

/// Jobs looked at to find those that can run.
const LOOKED_AT: u64 = 1_000;

/// How often old idempotency keys are removed.
const TIDY: Duration = Duration::from_secs(60);

/// How long a job waits after a failure of the store or the broker.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs jobs until the stop, each with at most `rate` deliveries a second.
pub(crate) async fn run(context: Arc<Context>, rate: u32) {
    let mut runner = Runner {
        context: context.clone(),
        holder: Uuid::now_v7().to_string(),
        pace: step::Pace::new(rate),
        running: HashMap::new(),
        tidied: tokio::time::Instant::now(),
    };
    let mut away = false;
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        match runner.look().await {
            Ok(()) => away = false,
            Err(error) if !std::mem::replace(&mut away, true) => {
                tracing::warn!("jobs were not looked for: {error}");
            }
            Err(_) => {}
        }
    }
    runner.hand_over().await;
}

struct Runner {
    context: Arc<Context>,
    holder: String,
    pace: step::Pace,
    running: HashMap<JobId, Running>,
    tidied: tokio::time::Instant,
}

struct Running {
    kind: JobKind,
    task: AbortHandle,
}

impl Runner {
    async fn look(&mut self) -> Result<(), StoreError> {
        if self.tidied.elapsed() >= TIDY {
            self.tidied = tokio::time::Instant::now();
            while self.context.store.remove_old_keys().await? {}
        }
        let jobs = self.context.store.unfinished_jobs(LOOKED_AT).await?;
        self.running.retain(|_, running| !running.task.is_finished());
        // Without jobs nobody needs the lease, and nothing is written.
        if jobs.is_empty() {
            return Ok(());
        }
        if !self.context.store.acquire_lease("jobs", &self.holder, LEASE).await? {
            self.stop_all();
            return Ok(());
        }
        for job in jobs {
            if !self.running.contains_key(&job.id) && self.has_room(job.kind) {
                self.start(job);
            }
        }
        Ok(())
    }

    fn has_room(&self, kind: JobKind) -> bool {
        let replays = self.running.values().filter(|job| job.kind == JobKind::Replay).count();
        self.running.len() < AT_ONCE && (kind != JobKind::Replay || replays < REPLAYS_AT_ONCE)
    }

    fn start(&mut self, job: Job) {
        let (id, kind) = (job.id, job.kind);
        let (context, pace) = (self.context.clone(), self.pace);
        let task = tokio::spawn(async move {
            let name = job.kind.as_str();
            tracing::info!(job.id = %id, webhook.id = %job.webhook, "the {name} {id} goes on");
            match kind {
                JobKind::Redelivery => range::run(&context, job, pace).await,
                JobKind::Replay => replay::run(&context, job, pace).await,
            }
        });
        self.running.insert(id, Running { kind, task: task.abort_handle() });
    }

    /// A step that is cut short is made again by whoever goes on.
    fn stop_all(&mut self) {
        for (_, running) in self.running.drain() {
            running.task.abort();
        }
    }

    /// Lets another dispatcher go on at once.
    async fn hand_over(mut self) {
        if self.running.is_empty() {
            return;
        }
        self.stop_all();
        let ended = self.context.store.acquire_lease("jobs", &self.holder, Duration::ZERO);
        if let Err(error) = ended.await {
            tracing::warn!("the jobs go on elsewhere in {LEASE:?}: {error}");
        }
    }
}

/// What keeps a job from going forward.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Broker(#[from] broker::PublishError),
    #[error("{0}")]
    History(#[from] broker::BrokerError),
    /// The job was cancelled or is run by another dispatcher, or the broker was closed.
    #[error("it is not ours any more")]
    Ended,
}

/// Waits after `trouble`, which is told once; false when there is nothing to wait for.
async fn wait_after(job: &Job, trouble: &Trouble, told: &mut bool) -> bool {
    if matches!(trouble, Trouble::Ended) {
        return false;
    }
    if !std::mem::replace(told, true) {
        tracing::warn!(job.id = %job.id, "the job {} waits: {trouble}", job.id);
    }
    tokio::time::sleep(AGAIN).await;
    true
}

/// The job's webhook, if it can be delivered to; otherwise the job ends.
async fn webhook_of(context: &Context, job: &Job) -> Result<Webhook, Trouble> {
    let found = context.store.find_webhook(job.webhook).await?;
    let reason = match found.as_ref().map(Webhook::obstacle) {
        Some(None) => return found.ok_or(Trouble::Ended),
        Some(Some(Obstacle::SwitchedOff)) => "the webhook was switched off",
        Some(Some(Obstacle::Unverified)) => "the webhook has to be verified",
        None => "the webhook was deleted",
    };
    context.store.end_job(job, Some(reason)).await?;
    Err(Trouble::Ended)
}
