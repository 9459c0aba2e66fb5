//! Events from history that a webhook never had, because it was off or did not exist.

use std::collections::HashSet;
use std::time::Duration;

use broker::{HistoryEntry, HistoryReader};
use domain::{Cause, DeliveryTask, Event, Subscriptions};
use store::{Job, JobCounts};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::Context;
use crate::jobs::step::{Pace, send, task};
use crate::jobs::{Trouble, wait_after, webhook_of};

/// How long reading goes on before the job looks whether it is still wanted.
const LOOK: Duration = Duration::from_secs(2);

/// An event published this shortly before the job may be under way to the webhook: it waits until
/// its first attempt is over and recorded.
const UNDER_WAY: Duration = Duration::from_secs(40);

/// Events that wait so, at most; beyond, the job waits as a whole.
const WAITING: usize = 1_000;

/// Goes on with `job` until its end: from the beginning of its range, for the history has no
/// place to go on from. What was delivered is found recorded.
pub(super) async fn run(context: &Context, mut job: Job, pace: Pace) {
    let mut told = false;
    loop {
        let mut replay = match Replay::begin(context, &job).await {
            Ok(replay) => replay,
            Err(trouble) if wait_after(&job, &trouble, &mut told).await => continue,
            Err(_) => return,
        };
        match replay.go_on(context, &mut job, pace).await {
            Ok(()) => return,
            Err(trouble) if wait_after(&job, &trouble, &mut told).await => {}
            Err(_) => return,
        }
    }
}

struct Replay {
    reader: HistoryReader,
    /// Where the history begins, if it is after the range does.
    history_from: Option<OffsetDateTime>,
    counts: JobCounts,
    /// Events that may be under way.
    waiting: Vec<Event>,
    /// A copy of an event is one event.
    seen: HashSet<domain::EventKey>,
}

impl Replay {
    async fn begin(context: &Context, job: &Job) -> Result<Self, Trouble> {
        let begins = context.broker.history_begins().await?;
        Ok(Self {
            reader: context.broker.history(Some(job.since)),
            history_from: (begins > job.since).then_some(begins),
            counts: JobCounts::default(),
            waiting: Vec::new(),
            seen: HashSet::new(),
        })
    }

    async fn go_on(&mut self, context: &Context, job: &mut Job, pace: Pace) -> Result<(), Trouble> {
        let mut all_read = false;
        while !all_read {
            let webhook = webhook_of(context, job).await?;
            let wanted = webhook.subscription().map_err(|e| store::StoreError::Corrupt {
                what: "webhook",
                message: e.to_string(),
            })?;
            let wanted = Subscriptions::new(vec![wanted]);
            let (events, end) = self.read(job, &wanted, pace).await?;
            all_read = end;
            self.deliver(context, job, events, pace).await?;
            if all_read || self.waiting.len() >= WAITING {
                self.let_pass(job).await;
                let mut waiting = std::mem::take(&mut self.waiting);
                while !waiting.is_empty() {
                    let rest = waiting.split_off(waiting.len().min(pace.size as usize));
                    self.deliver(context, job, waiting, pace).await?;
                    waiting = rest;
                }
            }
        }
        context.store.end_job(job, None).await?;
        Ok(())
    }

    /// The next events of the range that the webhook wants, and whether those were the last.
    async fn read(
        &mut self,
        job: &Job,
        wanted: &Subscriptions,
        pace: Pace,
    ) -> Result<(Vec<Event>, bool), Trouble> {
        let until = Instant::now() + LOOK;
        let mut events = Vec::new();
        while events.len() < pace.size as usize && self.waiting.len() < WAITING {
            let Ok(entry) = tokio::time::timeout_at(until, self.reader.next()).await else {
                break;
            };
            match entry.ok_or(Trouble::Ended)? {
                HistoryEntry::CaughtUp => return Ok((events, true)),
                HistoryEntry::Event(event) => {
                    let at = event.occurred_at();
                    let matches = event.user == job.user
                        && at < job.until
                        && wanted.wanting(&event).next().is_some();
                    if !matches || !self.seen.insert(event.key()) {
                        continue;
                    }
                    if at > job.created_at - UNDER_WAY {
                        self.waiting.push(event);
                    } else {
                        events.push(event);
                    }
                }
            }
        }
        Ok((events, false))
    }

    async fn let_pass(&self, job: &Job) {
        let until = job.created_at + UNDER_WAY;
        let left = Duration::try_from(until - OffsetDateTime::now_utc());
        if let (false, Ok(left)) = (self.waiting.is_empty(), left) {
            tokio::time::sleep(left).await;
        }
    }

    /// Delivers those that the webhook never had, and keeps count.
    async fn deliver(
        &mut self,
        context: &Context,
        job: &mut Job,
        events: Vec<Event>,
        pace: Pace,
    ) -> Result<(), Trouble> {
        let began = Instant::now();
        // The delivery that publishing the event would have made.
        let mut tasks: Vec<DeliveryTask> =
            events.into_iter().map(|event| task(event, job)).collect();
        let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
        let recorded = context.store.recorded(&ids).await?;
        let made_here =
            |known: &store::Recorded| known.cause == Cause::Replay && known.at >= job.created_at;
        tasks.retain(|task| match recorded.get(&task.id) {
            None => {
                self.counts.done += 1;
                true
            }
            Some(known) if made_here(known) => {
                self.counts.done += 1;
                known.planned
            }
            Some(_) => {
                self.counts.skipped += 1;
                false
            }
        });
        send(context, job, &tasks).await?;
        let counts = JobCounts {
            total: job.counts.total,
            // Begun again, it counts again what it had counted.
            done: self.counts.done.max(job.counts.done),
            skipped: self.counts.skipped.max(job.counts.skipped),
            failed: 0,
        };
        let next = context.store.advance_job(job, None, counts, self.history_from).await?;
        *job = next.ok_or(Trouble::Ended)?;
        pace.wait(began, tasks.len()).await;
        Ok(())
    }
}
