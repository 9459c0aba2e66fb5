//! Tells Studio what happened to webhooks, on `studio.notices`. A notice holds up no delivery
//! and fails none: it is handed over without waiting, and one that cannot be published is
//! published later, if it is of a kind that is kept, or else counted as dropped.

use std::sync::Arc;
use std::time::Duration;

use broker::{ControlMessage, Outgoing, Target};
use dashmap::DashSet;
use domain::{DeliveryTask, Notice, NoticeKind, Schedule, WebhookId};
use store::{HealthRules, StoreError};
use telemetry::{Counter, KeyValue};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{Context, DispatcherConfig};

/// Notices that wait to be published, at most.
const WAITING: usize = 1_024;

/// Notices published together.
const TOGETHER: usize = 100;

/// Tries of a notice that is not kept, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// A kept notice that is older than this and still there was not published.
const LEFT_OVER: Duration = Duration::from_secs(30);

/// Where notices are handed over.
#[derive(Clone)]
pub(crate) struct Notices {
    waiting: mpsc::Sender<Notice>,
    published: Counter<u64>,
    dropped: Counter<u64>,
}

impl Notices {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Notice>) {
        let (waiting, receiver) = mpsc::channel(WAITING);
        let meter = telemetry::meter();
        let counter = |name: &'static str, text: &'static str| {
            meter.u64_counter(name).with_description(text).build()
        };
        let published = counter("notices_published", "Notices published, by kind");
        let dropped = counter("notices_dropped", "Notices given up, by kind");
        (Self { waiting, published, dropped }, receiver)
    }

    /// Hands notices over, without waiting.
    pub(crate) fn post(&self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            if let Err(refused) = self.waiting.try_send(notice) {
                self.give_up(&refused.into_inner());
            }
        }
    }

    /// One that is kept is found again in the store.
    fn give_up(&self, notice: &Notice) {
        if !notice.kind.is_kept() {
            self.dropped.add(1, &label(notice));
        }
    }
}

fn label(notice: &Notice) -> [KeyValue; 1] {
    [KeyValue::new("notice", notice.kind.as_str())]
}

/// By what a webhook's failures are judged.
pub(crate) fn rules(schedule: &Schedule, config: &DispatcherConfig) -> HealthRules {
    HealthRules {
        warning_attempt: schedule.attempts() - 1,
        disable_after: (!config.disable_after.is_zero()).then_some(config.disable_after),
    }
}

/// The webhooks known to be failing: the next success of one is told.
#[derive(Default)]
pub(crate) struct Failing(DashSet<WebhookId>);

impl Failing {
    /// Whether `webhook`, which has just succeeded, was failing; only the first time.
    pub(crate) fn has_recovered(&self, webhook: WebhookId) -> bool {
        self.0.contains(&webhook) && self.0.remove(&webhook).is_some()
    }

    fn replace(&self, known: &[WebhookId]) {
        let known: std::collections::HashSet<&WebhookId> = known.iter().collect();
        self.0.retain(|webhook| known.contains(webhook));
        for webhook in known {
            self.0.insert(*webhook);
        }
    }
}

/// Tells that the webhook of `task` has recovered, by an attempt that began at `at`.
pub(crate) async fn recovered(context: &Context, task: &DeliveryTask, at: OffsetDateTime) {
    match context.store.webhook_recovered(task.webhook, &task.event, at).await {
        Ok(notice) => context.notices.post(notice),
        // Still failing in the store: found again there, and told by a later success.
        Err(error) => {
            tracing::warn!(webhook.id = %task.webhook, "a recovery is told later: {error}");
        }
    }
}

/// Looks every `period` for webhooks that fail, in this process or another, and for kept
/// notices that were not published: of several dispatchers one publishes those.
pub(crate) async fn watch(context: Arc<Context>, period: Duration) {
    let holder = Uuid::now_v7().to_string();
    let gauge = telemetry::meter()
        .u64_gauge("webhooks_failing")
        .with_description("Webhooks that were told to be failing, counted up to 10,000")
        .build();
    loop {
        match context.store.failing_webhooks().await {
            Ok(failing) => {
                gauge.record(failing.len() as u64, &[]);
                context.failing.replace(&failing);
            }
            Err(error) => tracing::debug!("failing webhooks were not looked for: {error}"),
        }
        if let Err(error) = publish_left_over(&context, &holder, period).await {
            tracing::debug!("unpublished notices were not looked for: {error}");
        }
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
    }
}

async fn publish_left_over(
    context: &Context,
    holder: &str,
    period: Duration,
) -> Result<(), StoreError> {
    if context.store.acquire_lease("notices", holder, period * 2).await? {
        let left = context.store.untold_notices(LEFT_OVER, TOGETHER as u32).await?;
        publish(context, left).await;
    }
    Ok(())
}

/// Publishes what is handed over, until the stop.
pub(crate) async fn run(context: Arc<Context>, mut waiting: mpsc::Receiver<Notice>) {
    let mut taken = Vec::with_capacity(TOGETHER);
    loop {
        tokio::select! {
            biased;
            count = waiting.recv_many(&mut taken, TOGETHER) => if count == 0 { return },
            () = context.stop.cancelled() => return,
        }
        for notice in &taken {
            note(&context, notice).await;
        }
        let mut failed = publish(&context, std::mem::take(&mut taken)).await;
        failed.retain(|notice| !notice.kind.is_kept());
        for _ in 1..TRIES {
            if failed.is_empty() {
                break;
            }
            tokio::select! {
                () = context.stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => failed = publish(&context, failed).await,
            }
        }
        failed.iter().for_each(|notice| context.notices.give_up(notice));
    }
}

/// What a notice means for the services themselves.
async fn note(context: &Context, notice: &Notice) {
    match notice.kind {
        NoticeKind::WebhookFailing => {
            context.failing.0.insert(notice.webhook);
        }
        NoticeKind::WebhookDisabled => {
            tracing::warn!(webhook.id = %notice.webhook, "{} was switched off", notice.webhook);
            let changed = ControlMessage::webhook_changed(&notice.user, notice.webhook);
            if let Err(error) = context.broker.announce(&changed).await {
                // Its remaining deliveries go on until what is remembered has aged.
                tracing::warn!(webhook.id = %notice.webhook, "not announced: {error}");
            }
        }
        NoticeKind::WebhookRecovered | NoticeKind::DeliveryExhausted => {}
    }
}

/// Publishes; gives back what was not confirmed.
async fn publish(context: &Context, notices: Vec<Notice>) -> Vec<Notice> {
    if notices.is_empty() {
        return notices;
    }
    let messages = notices.iter().map(message).collect();
    let results = context.broker.publish_all(messages).await;
    let mut kept = Vec::new();
    let mut failed = Vec::new();
    for (notice, result) in notices.into_iter().zip(results) {
        match result {
            Ok(()) => {
                context.notices.published.add(1, &label(&notice));
                kept.extend(notice.kind.is_kept().then_some(notice.id));
            }
            Err(_) => failed.push(notice),
        }
    }
    if !kept.is_empty()
        && let Err(error) = context.store.told(&kept).await
    {
        tracing::warn!("{} notices will be published again: {error}", kept.len());
    }
    failed
}

fn message(notice: &Notice) -> (Target, Outgoing) {
    let outgoing = Outgoing {
        message_id: Some(notice.id.to_string()),
        ..Outgoing::json(notice.body.clone().into())
    };
    (Target::Notices(notice.kind.as_str()), outgoing)
}
