//! Messages that came back so often that they may be what ends the process. Each is worked on
//! alone, after a mark in the store; one that leaves its marks behind is parked in
//! `studio.rejected`, and the others go on.
//!
//! The broker counts every return, also those of innocent messages that were under way when a
//! process was killed, so its count only says whom to suspect. The mark covers what is done to a
//! message here: reading, matching, composing, signing. Once its requests have left, a kill is not
//! its fault, however slow the endpoint.

use std::sync::Arc;
use std::time::Duration;

use broker::{Incoming, Queue};
use domain::Rejection;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::Context;
use crate::intake;
use crate::rejected::reject;

/// Returns from which on a message is suspected.
const RETURNS: u32 = 3;

/// Marks left behind with which a message is parked.
const MARKS: u32 = 5;

/// How long a suspect's requests may take to leave; whatever waits longer has not ended us.
const TO_LEAVE: Duration = Duration::from_secs(5);

/// How long a suspect whose requests have left is kept apart from the next.
const APART: Duration = Duration::from_millis(100);

/// What a suspect's work carries along.
pub(crate) struct Suspicion {
    pub(crate) mark: Mark,
    /// Held until the outcome.
    pub(crate) whole: DropGuard,
}

impl Suspicion {
    /// With the tokens that tell when the last mark is gone, and when the outcome is there.
    fn new() -> (Self, [CancellationToken; 2]) {
        let (left, settled) = (CancellationToken::new(), CancellationToken::new());
        let mark = Mark(Arc::new(left.clone().drop_guard()));
        (Self { mark, whole: settled.clone().drop_guard() }, [left, settled])
    }
}

/// Held by all that is still to be done here to a suspect; the last one gone, it is cleared.
#[derive(Clone)]
pub(crate) struct Mark(#[expect(dead_code, reason = "it is there to be dropped")] Arc<DropGuard>);

/// Whether `incoming` came back so often that it may be its fault.
pub(crate) fn is_suspect(incoming: &Incoming) -> bool {
    incoming.returns >= RETURNS
}

/// Works on a suspect of `queue` once those before it are done.
pub(crate) async fn work_alone(context: Arc<Context>, queue: Queue, incoming: Incoming) {
    let alone = context.suspects.acquire().await;
    if alone.is_err() || context.stop.is_cancelled() {
        // Handed back.
        return;
    }
    let fingerprint = incoming.fingerprint();
    let key = Uuid::from_bytes(*fingerprint.first_chunk().expect("32 bytes have 16"));
    let Some(marks) = intake::patiently(&context, || context.store.mark_suspect(key)).await else {
        return;
    };
    context.metrics.suspect();
    let (suspicion, [left, settled]) = Suspicion::new();
    if marks > MARKS {
        let text = format!(
            "the process ended {MARKS} times while it worked on this message and on no other \
             suspect; requeue it once the cause is found"
        );
        reject(context.clone(), incoming, Rejection::new(Rejection::ENDS_THE_PROCESS, text)).await;
        drop(suspicion);
    } else {
        tracing::info!(
            message.id = incoming.message_id.as_deref().unwrap_or_default(),
            message.returns = incoming.returns,
            suspect.marks = marks,
            "a message that came back {} times is worked on alone",
            incoming.returns,
        );
        intake::work(&context, queue, incoming, Some(suspicion)).await;
    }
    timeout(TO_LEAVE, left.cancelled()).await.ok();
    intake::patiently(&context, || context.store.clear_suspect(key)).await;
    timeout(APART, settled.cancelled()).await.ok();
}

/// Ends the process at the event that the tests chose.
#[cfg(debug_assertions)]
pub(crate) fn abort_if_asked(event: &domain::Event) {
    use std::sync::LazyLock;
    static ID: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("STUDIO_TEST_ABORT_ON").ok());
    if ID.as_deref() == Some(event.id.as_str()) {
        std::process::abort();
    }
}
