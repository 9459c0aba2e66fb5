//! One attempt and what follows it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use broker::{Outgoing, Queue, Target};
use domain::{AttemptReport, DeliveryStatus, DeliveryTask, FailureKind};
use store::{Outcome, Waits};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::claims::Held;
use crate::gate::Entered;
use crate::holding::Holding;
use crate::recorder::Finished;
use crate::retries::{self, Verdict};
use crate::slots::Lane;
use crate::subscribers::Subscriber;
use crate::suspects::Mark;
use crate::{Context, notices};

/// An attempt that has taken this long is slow: its slot goes to others.
const SLOW_AFTER: Duration = Duration::from_millis(250);

/// An attempt that has taken this long is parked: its row says who makes it, and its message is
/// acknowledged.
const PARKED_AFTER: Duration = Duration::from_secs(1);

/// The same while messages of many attempts are held, so that what is quick finds room.
const PARKED_SOON: Duration = Duration::from_millis(50);

/// How long after its time-out the outcome of a parked attempt may still be on its way to the store
/// before the attempt is taken for lost.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// How long the history may take to place an ordered delivery, before that is given up.
const PLACED_WITHIN: Duration = Duration::from_secs(60);

/// An attempt to make.
pub(crate) struct Job {
    pub(crate) task: DeliveryTask,
    pub(crate) subscriber: Arc<Subscriber>,
    pub(crate) entered: Entered,
    pub(crate) held: Held,
    pub(crate) lane: Lane,
}

/// Makes the attempt and hands its outcome to the recorder.
pub(crate) async fn attempt(context: Arc<Context>, job: Job) {
    let Job { task, subscriber, mut entered, mut held, lane } = job;
    let mark = held.take_mark();
    let report = {
        let endpoint = &subscriber.endpoint;
        // Pinned here: what is handed on would be there twice, in every attempt under way.
        let request = pin!(context.sender.attempt(endpoint, &task.event, task.id, task.attempt));
        let request = pin!(cleared(request, mark));
        let holding = context.holding.of(lane);
        watched((&context, holding), &task, request, &mut entered, &mut held).await
    };
    let Some(report) = report else { return hand_back(&context, held, &task).await };
    context.metrics.attempt(&report);
    if report.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Exhausted) {
        context.exhaustion.warn();
        return defer(&context, held, &task).await;
    }
    entered.note(&report);
    // The next one goes while this one's outcome is recorded.
    drop(entered);
    let verdict = retries::verdict(&context.schedule, task.attempt, &report, context.clock.now());
    log_failure(&task, &report);
    let waits = match &held {
        // Those behind it wait until it has ended.
        Held::Row(row) if row.is_ordered() && !verdict.status.is_final() => row.waits(),
        _ => Waits::No,
    };
    let next = match waits {
        Waits::No => next_message(&context, &task, &verdict),
        _ => None,
    };
    let recovered = report.succeeded() && context.failing.has_recovered(task.webhook);
    let recovered = recovered.then_some(report.started_at);
    let outcome = Outcome {
        report: Some(report),
        status: verdict.status,
        next_attempt_at: verdict.next.map(|(_, due)| due),
        waits,
        ..outcome_of(&task)
    };
    context.recorder.finish(Finished { outcome: Some(outcome), next, held }).await;
    if let Some(at) = recovered {
        notices::recovered(&context, &task, at).await;
    }
}

/// Waits for `request`, and lets go of what others need when it takes long; `None` when the process
/// stops before it has ended.
async fn watched(
    (context, holding): (&Context, &Holding),
    task: &DeliveryTask,
    mut request: Pin<&mut impl Future<Output = AttemptReport>>,
    entered: &mut Entered,
    held: &mut Held,
) -> Option<AttemptReport> {
    // Both go on: the store may be away for longer than the request takes.
    tokio::select! {
        biased;
        report = &mut request => return Some(report),
        () = let_go((context, holding), task, entered, held) => {}
    }
    tokio::select! {
        biased;
        report = request => Some(report),
        () = context.hand_back.cancelled() => None,
    }
}

/// Lets go of what others need, the longer the attempt takes.
async fn let_go(
    (context, holding): (&Context, &Holding),
    task: &DeliveryTask,
    entered: &mut Entered,
    held: &mut Held,
) {
    if entered.expects_long() {
        held.is_slow();
        park(context, task, held).await;
    }
    let mut counted = matches!(held, Held::Message(_)).then(|| holding.begin());
    if holding.is_much() {
        sleep(PARKED_SOON).await;
        entered.spill_if_unknown();
        park(context, task, held).await;
        counted.take();
        sleep(SLOW_AFTER - PARKED_SOON).await;
        entered.becomes_slow();
        held.is_slow();
        sleep(PARKED_AFTER - SLOW_AFTER).await;
        return entered.hangs();
    }
    sleep(SLOW_AFTER).await;
    entered.becomes_slow();
    held.is_slow();
    if holding.is_much() {
        park(context, task, held).await;
        counted.take();
    }
    sleep(PARKED_AFTER - SLOW_AFTER).await;
    entered.hangs();
    park(context, task, held).await;
}

/// Leaves the delivery to its row: if this process ends, it is taken up when its time is over.
async fn park(context: &Context, task: &DeliveryTask, held: &mut Held) {
    if !matches!(held, Held::Message(_)) {
        return;
    }
    // The attempt may end while this waits: until then the message is held.
    let Some(room) = context.recorder.room().await else { return };
    let held = std::mem::replace(held, Held::Nothing);
    let longest = context.sender.timeout() + ON_ITS_WAY;
    let outcome = Outcome {
        waits: Waits::Parked,
        next_attempt_at: Some(context.clock.now() + longest),
        ..not_attempted(task)
    };
    room.send(Finished { outcome: Some(outcome), next: None, held });
}

/// The process stops: a parked delivery goes back to the broker, another one to where it came from.
async fn hand_back(context: &Context, held: Held, task: &DeliveryTask) {
    if !matches!(held, Held::Nothing) {
        return;
    }
    let due = context.clock.now() + PLACED_WITHIN;
    let outcome = Outcome { next_attempt_at: Some(due), ..not_attempted(task) };
    let next = Some((Target::Queue(Queue::Deliver), Outgoing::task(task)));
    context.recorder.finish(Finished { outcome: Some(outcome), next, held }).await;
}

fn log_failure(task: &DeliveryTask, report: &AttemptReport) {
    let Some(failure) = &report.failure else { return };
    tracing::info!(
        delivery.id = %task.id,
        webhook.id = %task.webhook,
        event.id = %task.event.id,
        attempt.number = task.attempt,
        duration_ms = report.duration.as_millis() as u64,
        "attempt {} of {} failed: {} ({})",
        task.attempt,
        task.id,
        failure.text,
        failure.kind,
    );
}

/// `request`, of a suspect: composing, signing and looking for a connection are its first step,
/// after which it has not ended us.
async fn cleared<T>(mut request: Pin<&mut impl Future<Output = T>>, mut mark: Option<Mark>) -> T {
    poll_fn(|context| {
        let polled = request.as_mut().poll(context);
        mark.take();
        polled
    })
    .await
}

fn next_message(
    context: &Context,
    task: &DeliveryTask,
    verdict: &Verdict,
) -> Option<(Target, broker::Outgoing)> {
    let (wait, due) = verdict.next?;
    let next = DeliveryTask { attempt: task.attempt + 1, not_before: Some(due), ..task.clone() };
    debug_assert!(context.schedule.delays().contains(&wait), "every wait has its queue");
    Some((Target::Queue(Queue::Retry(wait)), Outgoing::task(&next)))
}

/// Puts a delivery into its webhook's backlog: no attempt, shown as deferred. One that comes from
/// there keeps its place.
pub(crate) async fn defer(context: &Context, held: Held, task: &DeliveryTask) {
    context.metrics.deferred();
    let waits = match &held {
        Held::Row(row) => row.waits(),
        _ => Waits::InBacklog { partition: 0, place: context.backlogs.next_place() },
    };
    let outcome = Outcome { waits, ..not_attempted(task) };
    context.recorder.finish(Finished { outcome: Some(outcome), next: None, held }).await;
}

/// Leaves a delivery of an ordered webhook to the history, which says after which others it goes.
pub(crate) async fn leave_to_order(context: &Context, held: Held, task: &DeliveryTask) {
    wait_until(context, held, task, context.clock.now() + PLACED_WITHIN).await;
}

/// Records that the delivery waits for its time: it is found there when what brings it is lost.
pub(crate) async fn wait_until(
    context: &Context,
    held: Held,
    task: &DeliveryTask,
    due: OffsetDateTime,
) {
    let outcome = Outcome { next_attempt_at: Some(due), ..not_attempted(task) };
    context.recorder.finish(Finished { outcome: Some(outcome), next: None, held }).await;
}

/// Ends a delivery whose webhook is deleted or switched off.
pub(crate) async fn cancel(context: &Context, held: Held, task: &DeliveryTask) {
    let outcome = Outcome { status: DeliveryStatus::Cancelled, ..not_attempted(task) };
    context.recorder.finish(Finished { outcome: Some(outcome), next: None, held }).await;
}

/// Ends a delivery that its endpoint has given no chance to: `reason` says why.
pub(crate) async fn give_up(context: &Context, held: Held, task: &DeliveryTask, reason: String) {
    let outcome =
        Outcome { status: DeliveryStatus::Failed, reason: Some(reason), ..not_attempted(task) };
    context.recorder.finish(Finished { outcome: Some(outcome), next: None, held }).await;
}

/// Where a delivery stands before the attempt of `task`.
fn not_attempted(task: &DeliveryTask) -> Outcome {
    let attempt = task.attempt - 1;
    let status = if attempt == 0 { DeliveryStatus::Pending } else { DeliveryStatus::Retrying };
    Outcome { attempt, status, ..outcome_of(task) }
}

/// The outcome of no attempt at all.
fn outcome_of(task: &DeliveryTask) -> Outcome {
    Outcome {
        delivery: task.id,
        webhook: task.webhook,
        event: task.event.clone(),
        cause: task.cause,
        attempt: task.attempt,
        report: None,
        status: DeliveryStatus::Pending,
        next_attempt_at: None,
        waits: Waits::No,
        reason: None,
    }
}
