//! The two lanes of messages: events as published, and single deliveries. What a message asks
//! for is found here; [`crate::attempts`] does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Incoming, Queue};
use domain::{Cause, DeliveryId, DeliveryTask, Event, Rejection};
use store::StoreError;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::Context;
use crate::attempts::{self, Job};
use crate::claims::{Claim, Claimed, Held};
use crate::gate::{Entered, Gate, MOMENT, Turn};
use crate::progress::{Need, need};
use crate::recorder::Finished;
use crate::rejected::reject;
use crate::slots::Lane;
use crate::subscribers::Subscriber;
use crate::suspects::{self, Suspicion};

/// A task that is early by so little is waited for with its message.
const AT_ONCE: Duration = Duration::from_millis(250);

/// How long nothing more is taken, at most, where a quick endpoint's user has too much in memory; and
/// how soon room is asked for again when nobody tells of it.
const HELD_BACK: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(5);

/// Events with more bytes than this are worked on beside the others: filters may need
/// milliseconds for them, in which the next ones would wait.
const READ_IN_LINE: usize = 8 * 1024;

/// An event that more webhooks want than this is worked on beside the others, too.
const IN_LINE: usize = 16;

/// Takes messages from `queue` until the stop.
pub(crate) async fn run(context: Arc<Context>, queue: Queue, prefetch: u16) {
    let mut consumer = context.broker.consume(queue, prefetch.max(1));
    loop {
        let taken = tokio::select! {
            biased;
            () = context.stop.cancelled() => return,
            taken = next(&context, &mut consumer) => taken,
        };
        let Some(incoming) = taken else {
            return;
        };
        context.metrics.taken(queue);
        if suspects::is_suspect(&incoming) {
            context.tasks.spawn(suspects::work_alone(context.clone(), queue, incoming));
        } else {
            work(&context, queue, incoming, None).await;
        }
    }
}

/// Begins to work on a message of `queue`.
pub(crate) async fn work(
    context: &Arc<Context>,
    queue: Queue,
    incoming: Incoming,
    suspicion: Option<Suspicion>,
) {
    match queue {
        Queue::Deliver => task(context, incoming, suspicion).await,
        _ => event(context, incoming, suspicion).await,
    }
}

async fn next(context: &Context, consumer: &mut broker::Consumer) -> Option<Incoming> {
    context.recorder.ready().await;
    let taken = consumer.next().await;
    // What came while outcomes cannot be recorded waits here, unsent.
    context.recorder.ready().await;
    taken
}

/// An event as published: every webhook that wants it gets a delivery.
async fn event(context: &Arc<Context>, incoming: Incoming, suspicion: Option<Suspicion>) {
    let event = match incoming.event() {
        Ok(event) => event,
        Err(rejection) => return spawn_reject(context, incoming, rejection),
    };
    #[cfg(debug_assertions)]
    suspects::abort_if_asked(&event);
    if event.payload.len() <= READ_IN_LINE
        && let Some(wanting) = context.subscribers.wanting_at_once(&event).await
    {
        return matched(context, incoming, event, suspicion, wanting).await;
    }
    // Beside the others, which must not wait for what the store or long filters take.
    let (context, spawner) = (context.clone(), context.tasks.clone());
    spawner.spawn(async move {
        let line = context.slots.beside(&event.user);
        let _turn = line.lock().await;
        if let Some(wanting) = known_wanting(&context, &event).await {
            matched(&context, incoming, event, suspicion, wanting).await;
        }
    });
}

/// Begins the deliveries of an event to the webhooks that want it.
async fn matched(
    context: &Arc<Context>,
    incoming: Incoming,
    event: Event,
    suspicion: Option<Suspicion>,
    wanting: Vec<Arc<Subscriber>>,
) {
    let came_before = incoming.redelivered;
    let claim = match context.claims.event(event.key().0, incoming.acker, suspicion) {
        Claimed::New(claim) => claim,
        Claimed::Known => return context.metrics.duplicate(),
    };
    if wanting.is_empty() {
        context.metrics.unmatched();
        return claim.settle_first();
    }
    let tasks: Vec<_> =
        wanting.into_iter().map(|subscriber| first_task(&event, subscriber)).collect();
    if came_before {
        // May have been worked on: what is recorded decides, which takes a query.
        let (context, spawner) = (context.clone(), context.tasks.clone());
        spawner.spawn(async move { resume(&context, &claim, tasks, Lane::First).await });
    } else if tasks.len() > IN_LINE {
        let (context, spawner) = (context.clone(), context.tasks.clone());
        spawner.spawn(async move { begin_all(&context, &claim, tasks).await });
    } else {
        begin_all(context, &claim, tasks).await;
    }
}

async fn begin_all(
    context: &Arc<Context>,
    claim: &Arc<Claim>,
    tasks: Vec<(DeliveryTask, Arc<Subscriber>)>,
) {
    for (task, subscriber) in tasks {
        begin(context, claim, task, subscriber, Lane::First).await;
    }
    claim.settle_first();
}

/// A single delivery: a retry, a redelivery, or work that waited its turn.
async fn task(context: &Arc<Context>, incoming: Incoming, suspicion: Option<Suspicion>) {
    let read = incoming.event().and_then(|event| {
        DeliveryTask::from_headers(event, |name| incoming.header(name))
            .map_err(|e| Rejection::new("not_a_delivery", e.to_string()))
    });
    let task = match read {
        Ok(task) => task,
        Err(rejection) => return spawn_reject(context, incoming, rejection),
    };
    let claim = match context.claims.task(key(&task), incoming.acker, suspicion) {
        Claimed::New(claim) => claim,
        Claimed::Known => return context.metrics.duplicate(),
    };
    let (context, spawner) = (context.clone(), context.tasks.clone());
    spawner.spawn(async move {
        if !wait_for_its_time(&context, &claim, &task).await {
            return;
        }
        let Some(found) = known_subscriber(&context, &task).await else {
            return;
        };
        match found {
            None => {
                attempts::cancel(&context, Held::Message(claim.part()), &task).await;
                claim.settle_first();
            }
            Some(subscriber) => {
                resume(&context, &claim, vec![(task, subscriber)], Lane::Later).await;
            }
        }
    });
}

/// Waits until `task` is due. Its message is acknowledged meanwhile, and its row brings it back if
/// this process ends; false when it is to be left to that.
async fn wait_for_its_time(context: &Context, claim: &Arc<Claim>, task: &DeliveryTask) -> bool {
    let Some(due) = task.not_before else { return true };
    let Ok(left) = Duration::try_from(due - context.clock.now()) else { return true };
    if left <= AT_ONCE {
        tokio::time::sleep(left).await;
        return true;
    }
    attempts::wait_until(context, Held::Message(claim.part()), task, due).await;
    claim.settle_first();
    let Ok(_early) = context.patience.try_acquire() else { return false };
    tokio::select! {
        () = context.stop.cancelled() => false,
        () = tokio::time::sleep(left) => true,
    }
}

/// An attempt of a delivery: its successor is other work.
fn key(task: &DeliveryTask) -> Uuid {
    Uuid::from_u128(task.id.as_uuid().as_u128() ^ u128::from(task.attempt))
}

/// Goes on with deliveries from where the store says they are.
async fn resume(
    context: &Arc<Context>,
    claim: &Arc<Claim>,
    tasks: Vec<(DeliveryTask, Arc<Subscriber>)>,
    lane: Lane,
) {
    let ids: Vec<DeliveryId> = tasks.iter().map(|(task, _)| task.id).collect();
    let Some(recorded) = patiently(context, || context.progress.ask(ids.clone())).await else {
        return;
    };
    for (mut task, subscriber) in tasks {
        match need(recorded.get(&task.id), task.attempt, context.clock.now()) {
            Need::Attempt => begin(context, claim, task, subscriber, lane).await,
            Need::Nothing => {}
            Need::Plan { attempt, due } => {
                (task.attempt, task.not_before) = (attempt, Some(due));
                put_off_part(context, claim, &task).await;
            }
        }
    }
    claim.settle_first();
}

/// Starts an attempt, or sees to it that it is started when its turn comes.
async fn begin(
    context: &Arc<Context>,
    claim: &Arc<Claim>,
    task: DeliveryTask,
    subscriber: Arc<Subscriber>,
    lane: Lane,
) {
    let held = Held::Message(claim.part());
    if subscriber.ordered {
        return in_order(context, held, &task).await;
    }
    match turn(context, &subscriber.gate, lane).await {
        Turn::Now(entered) => {
            let job = Job { task, subscriber, entered, held, lane };
            context.tasks.spawn(attempts::attempt(context.clone(), job));
        }
        Turn::Soon(turn) => {
            // A wait of its webhook's own, which holds up nobody else.
            context.tasks.spawn(begin_soon(context.clone(), turn, (task, subscriber, lane), held));
        }
        Turn::Full | Turn::Backlog => attempts::defer(context, held, &task).await,
    }
}

/// Asks for the turn of a delivery to the webhook of `gate`. Where a quick endpoint does not keep up,
/// nothing more is taken for a moment, if that is worth it.
async fn turn(context: &Context, gate: &Arc<Gate>, lane: Lane) -> Turn {
    let mut turn = gate.ask(lane);
    if !matches!(turn, Turn::Full) {
        return turn;
    }
    let began = Instant::now();
    let mut told = Duration::ZERO;
    while matches!(turn, Turn::Full) && told < HELD_BACK {
        context.slots.less_waits(PAUSE).await;
        gate.held_back(began.elapsed() - told);
        told = began.elapsed();
        turn = gate.ask(lane);
    }
    if matches!(turn, Turn::Full) {
        gate.spill();
    }
    turn
}

/// Makes an attempt when its turn comes; what must wait longer goes into the backlog.
async fn begin_soon(
    context: Arc<Context>,
    turn: oneshot::Receiver<Entered>,
    (task, subscriber, lane): (DeliveryTask, Arc<Subscriber>, Lane),
    held: Held,
) {
    match tokio::time::timeout(MOMENT, turn).await {
        Ok(Ok(entered)) => {
            attempts::attempt(context, Job { task, subscriber, entered, held, lane }).await;
        }
        Ok(Err(_)) => attempts::defer(&context, held, &task).await,
        Err(_) => {
            subscriber.gate.spill();
            attempts::defer(&context, held, &task).await;
        }
    }
}

/// A delivery of an ordered webhook: its place is that of its event in the history. What no event
/// brings (a redelivery, one that the history has not placed in time) goes to the end.
async fn in_order(context: &Context, held: Held, task: &DeliveryTask) {
    if task.cause == Cause::Event && task.not_before.is_none() {
        return attempts::leave_to_order(context, held, task).await;
    }
    if task.cause == Cause::Event && task.attempt == 1 {
        tracing::warn!(
            delivery.id = %task.id,
            "the history does not know the event of an ordered delivery: it goes to the end"
        );
    }
    attempts::defer(context, held, task).await;
}

async fn put_off_part(context: &Context, claim: &Arc<Claim>, task: &DeliveryTask) {
    let next = crate::retries::delayed(&context.schedule, task, context.clock.now());
    let held = Held::Message(claim.part());
    let finished = Finished { outcome: None, next: Some(next), held };
    context.recorder.finish(finished).await;
}

fn first_task(event: &Event, subscriber: Arc<Subscriber>) -> (DeliveryTask, Arc<Subscriber>) {
    let webhook = subscriber.endpoint.webhook;
    let task = DeliveryTask {
        id: DeliveryId::derive(&event.user, &event.id, webhook, ""),
        webhook,
        event: event.clone(),
        attempt: 1,
        not_before: None,
        cause: Cause::Event,
    };
    (task, subscriber)
}

fn spawn_reject(context: &Arc<Context>, incoming: Incoming, rejection: Rejection) {
    context.tasks.spawn(reject(context.clone(), incoming, rejection));
}

async fn known_wanting(context: &Arc<Context>, event: &Event) -> Option<Vec<Arc<Subscriber>>> {
    patiently(context, || context.subscribers.wanting(event)).await
}

async fn known_subscriber(
    context: &Arc<Context>,
    task: &DeliveryTask,
) -> Option<Option<Arc<Subscriber>>> {
    patiently(context, || context.subscribers.find(&task.event.user, task.webhook)).await
}

/// Asks the store until it answers; `None` at a stop, and the message goes back.
pub(crate) async fn patiently<T, F>(context: &Context, ask: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut warned = false;
    loop {
        match ask().await {
            Ok(answer) => return Some(answer),
            Err(error) => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!("a message waits for the store: {error}");
                }
            }
        }
        tokio::select! {
            () = context.stop.cancelled() => return None,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}
