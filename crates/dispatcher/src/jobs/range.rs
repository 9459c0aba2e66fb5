//! A range of deliveries, made again.

use std::collections::HashSet;

use domain::DeliveryTask;
use store::{Job, JobCounts};
use tokio::time::Instant;

use crate::Context;
use crate::jobs::step::{Pace, send, task};
use crate::jobs::{Trouble, wait_after, webhook_of};

/// Goes on with `job` until its end.
pub(super) async fn run(context: &Context, mut job: Job, pace: Pace) {
    let mut told = false;
    loop {
        let began = Instant::now();
        match step(context, &job, pace).await {
            Ok(Some((next, sent))) => {
                (job, told) = (next, false);
                pace.wait(began, sent).await;
            }
            Ok(None) => return,
            Err(trouble) => {
                if !wait_after(&job, &trouble, &mut told).await {
                    return;
                }
            }
        }
    }
}

/// Makes the next deliveries; `None` at the end.
async fn step(context: &Context, job: &Job, pace: Pace) -> Result<Option<(Job, usize)>, Trouble> {
    webhook_of(context, job).await?;
    let page = context.store.next_of_range(job, pace.size.into()).await?;
    if page.is_end() {
        context.store.end_job(job, None).await?;
        return Ok(None);
    }
    let looked_at = page.events.len();
    let tasks = wanted(context, job, page.events.clone()).await?;
    send(context, job, &tasks).await?;
    let counts = JobCounts {
        done: job.counts.done + looked_at as u64,
        skipped: job.counts.skipped + page.skipped,
        failed: job.counts.failed + page.failed,
        ..job.counts
    };
    let next = context.store.advance_job(job, Some(&page), counts, None).await?;
    next.map(|next| Some((next, tasks.len()))).ok_or(Trouble::Ended)
}

/// The deliveries to make: one for each event, and none that this job has made before. Two rows
/// of the same event are served by one.
async fn wanted(
    context: &Context,
    job: &Job,
    events: Vec<domain::Event>,
) -> Result<Vec<DeliveryTask>, Trouble> {
    let mut seen = HashSet::new();
    let mut tasks: Vec<DeliveryTask> = events
        .into_iter()
        .map(|event| task(event, job))
        .filter(|task| seen.insert(task.id))
        .collect();
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    let recorded = context.store.recorded(&ids).await?;
    tasks.retain(|task| recorded.get(&task.id).is_none_or(|recorded| recorded.planned));
    Ok(tasks)
}
