//! Messages that are no event: kept in `studio.rejected` with the reason, never dropped.

use std::sync::Arc;
use std::time::Duration;

use broker::{Incoming, Outgoing, Queue, Target};
use bytes::Bytes;
use domain::{MAX_EVENT_BYTES, Rejection};
use time::OffsetDateTime;

use crate::Context;

/// Moves `incoming` to `studio.rejected`, then acknowledges it. Tried until it works: the ones
/// behind it are not held up.
pub(crate) async fn reject(context: Arc<Context>, incoming: Incoming, rejection: Rejection) {
    context.metrics.rejected(rejection.code);
    let size = incoming.body.len();
    let id = incoming.message_id.clone().unwrap_or_default();
    tracing::warn!(
        event.id = %shown(&id),
        size_bytes = size,
        reason = rejection.code,
        "a message was rejected: {rejection}"
    );
    // Too large to be kept: its id and size tell the publisher which one it was.
    let body = if size > MAX_EVENT_BYTES { Bytes::new() } else { incoming.body.clone() };
    let message = Outgoing {
        content_type: incoming.content_type,
        message_id: incoming.message_id.clone(),
        headers: headers(&incoming, &rejection),
        ..Outgoing::json(body)
    };
    while let Err(error) = publish(&context, message.clone()).await {
        tracing::warn!("a rejected message could not be kept yet: {error}");
        tokio::select! {
            // Handed back: it is rejected after the restart.
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
    incoming.acker.ack();
}

async fn publish(context: &Context, message: Outgoing) -> Result<(), broker::PublishError> {
    context.broker.publish(Target::Queue(Queue::Rejected), message).await
}

fn headers(incoming: &Incoming, rejection: &Rejection) -> Vec<(String, String)> {
    let mut headers = vec![
        ("studio-reason".to_owned(), rejection.code.to_owned()),
        ("studio-reason-text".to_owned(), rejection.message.chars().take(500).collect()),
        ("studio-size".to_owned(), incoming.body.len().to_string()),
        (
            "studio-rejected-at".to_owned(),
            (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).to_string(),
        ),
    ];
    if let Some(key) = &incoming.routing_key {
        headers.push(("studio-routing-key".to_owned(), key.clone()));
    }
    // A delivery that was rejected must be readable again when it is requeued. The broker would
    // interpret headers of its own.
    let new = |name: &str| !headers.iter().any(|(known, _)| known == name);
    let others: Vec<_> = incoming.own_headers().filter(|(name, _)| new(name)).cloned().collect();
    headers.extend(others);
    headers
}

fn shown(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(64).collect()
}
