//! One attempt and what follows it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use broker::{Outgoing, Queue, Target};
use domain::{DeliveryStatus, DeliveryTask, FailureKind};
use store::{Outcome, Waits};

use crate::claims::Part;
use crate::gate::Busy;
use crate::recorder::Finished;
use crate::retries::{self, Verdict};
use crate::slots::Slot;
use crate::subscribers::Subscriber;
use crate::suspects::Mark;
use crate::{Context, notices};

/// How long after its wait a deferred delivery may still be on its way to us before the sweep
/// takes it for lost.
const DEFERRED_AT_MOST: Duration = Duration::from_secs(60);

/// An attempt to make.
pub(crate) struct Job {
    pub(crate) task: DeliveryTask,
    pub(crate) subscriber: Arc<Subscriber>,
    pub(crate) slot: Slot,
    pub(crate) part: Part,
}

/// Makes the attempt and hands its outcome to the recorder.
pub(crate) async fn attempt(context: Arc<Context>, job: Job) {
    let Job { task, subscriber, slot, mut part } = job;
    let endpoint = &subscriber.endpoint;
    let report = {
        // Pinned here: what is handed on would be there twice, in every attempt under way.
        let request = pin!(context.sender.attempt(endpoint, &task.event, task.id, task.attempt));
        slot.hold(cleared(request, part.take_mark())).await
    };
    context.metrics.attempt(&report);
    if report.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Exhausted) {
        context.exhaustion.warn();
        return defer(&context, part, task, Busy::AtItsLimit).await;
    }
    context.slots.note(&subscriber.gate, &report);
    let verdict = retries::verdict(&context.schedule, task.attempt, &report, context.clock.now());
    if let Some(failure) = &report.failure {
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
    let next = next_message(&context, &task, &verdict);
    let recovered = report.succeeded() && context.failing.has_recovered(task.webhook);
    let recovered = recovered.then_some(report.started_at);
    let outcome = Outcome {
        report: Some(report),
        status: verdict.status,
        next_attempt_at: verdict.next.map(|(_, due)| due),
        ..outcome_of(&task)
    };
    context.recorder.finish(Finished { outcome: Some(outcome), next, part }).await;
    if let Some(at) = recovered {
        notices::recovered(&context, &task, at).await;
    }
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

/// Sends a delivery back to the broker to wait its turn: no attempt, shown as deferred.
pub(crate) async fn defer(context: &Context, part: Part, mut task: DeliveryTask, busy: Busy) {
    context.metrics.deferred();
    let now = context.clock.now();
    let (queue, wait) = retries::turn(&context.schedule, busy);
    if let Busy::Paced(wait) = busy {
        task.not_before = Some(now + wait);
    }
    let outcome = Outcome {
        attempt: task.attempt - 1,
        status: if task.attempt == 1 { DeliveryStatus::Pending } else { DeliveryStatus::Retrying },
        next_attempt_at: Some(task.not_before.unwrap_or(now).max(now + wait) + DEFERRED_AT_MOST),
        ..outcome_of(&task)
    };
    let next = Some((Target::Queue(queue), Outgoing::task(&task)));
    context.recorder.finish(Finished { outcome: Some(outcome), next, part }).await;
}

/// Ends a delivery whose webhook is deleted or switched off.
pub(crate) async fn cancel(context: &Context, part: Part, task: &DeliveryTask) {
    let outcome = Outcome {
        attempt: task.attempt - 1,
        status: DeliveryStatus::Cancelled,
        next_attempt_at: None,
        ..outcome_of(task)
    };
    context.recorder.finish(Finished { outcome: Some(outcome), next: None, part }).await;
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
