//! The operations on webhooks, a file each.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod read;
pub(crate) mod rotate;
pub(crate) mod test;
pub(crate) mod update;
pub(crate) mod verify;

use std::time::Duration;

use domain::WebhookId;

use crate::Api;
use crate::error::ApiError;

/// Longest wait for an announcement: a broker that is away holds up nobody who changes a webhook.
const ANNOUNCE: Duration = Duration::from_secs(1);

/// The webhook of a path; what is no id is unknown.
pub(crate) fn webhook_id(text: &str) -> Result<WebhookId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound)
}

/// Lets the dispatchers know. The store has the change already: an announcement that is lost
/// delays it by the age of their caches.
async fn announce(api: &Api, user: &domain::UserId, id: WebhookId) {
    let message = broker::ControlMessage::webhook_changed(user, id);
    match tokio::time::timeout(ANNOUNCE, api.broker.announce(&message)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(webhook.id = %id, "a change was not announced: {error}"),
        Err(_) => tracing::warn!(webhook.id = %id, "a change was not announced in time"),
    }
}
