//! What a change makes of a webhook.

use domain::{SigningKey, SigningScheme, Webhook, leads_elsewhere};
use rand::RngExt;

use crate::instant::now;
use crate::{StoreError, WebhookChange};

/// Whether requests of the two differ in more than what the event brings.
pub(crate) fn asks_otherwise(before: &Webhook, after: &Webhook) -> bool {
    let previous = |webhook: &Webhook| {
        webhook.previous_secret.as_ref().map(|(old, until)| (old.expose().to_owned(), *until))
    };
    let keys = |webhook: &Webhook| {
        let keys = [&webhook.signing_key, &webhook.previous_signing_key];
        keys.map(|key| key.as_ref().map(SigningKey::public_key))
    };
    before.url != after.url
        || before.headers.values() != after.headers.values()
        || keys(before) != keys(after)
        || before.secret.expose() != after.secret.expose()
        || previous(before) != previous(after)
}

/// Makes the change; gives back the headers that the webhook lost by it, because its URL leads
/// elsewhere now.
///
/// # Errors
/// [`StoreError::Headers`]; the webhook is to be thrown away then.
pub(crate) fn apply(
    webhook: &mut Webhook,
    change: WebhookChange,
) -> Result<Vec<String>, StoreError> {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    let moved = change.url.as_ref().is_some_and(|url| leads_elsewhere(&webhook.url, url));
    let headers = webhook.headers.after(change.headers, moved)?;
    let removed = if moved { webhook.headers.hidden_and_gone(&headers) } else { Vec::new() };
    webhook.headers = headers;
    if moved {
        webhook.verified_at = None;
        if change.must_verify {
            webhook.pending_since = Some(now());
        }
    }
    set(&mut webhook.name, change.name);
    set(&mut webhook.url, change.url);
    set(&mut webhook.events, change.events);
    set(&mut webhook.project_ids, change.project_ids);
    let filter = change.filter.map(|new| new.map(|filter| filter.as_str().to_owned()));
    set(&mut webhook.filter, filter);
    set(&mut webhook.rate_limit, change.rate_limit);
    set(&mut webhook.ordered, change.ordered);
    set(&mut webhook.description, change.description);
    set(&mut webhook.metadata, change.metadata);
    if let Some(secret) = change.secret {
        webhook.secret = secret;
        (webhook.previous_secret, webhook.previous_signing_key) = (None, None);
    }
    match (change.signing, &webhook.signing_key) {
        (Some(SigningScheme::Hmac), _) => {
            (webhook.signing_key, webhook.previous_signing_key) = (None, None);
        }
        (Some(SigningScheme::Ed25519), None) => webhook.signing_key = Some(new_signing_key()),
        (Some(SigningScheme::Ed25519), Some(_)) | (None, _) => {}
    }
    if let Some(active) = change.active {
        webhook.active = active;
        if active {
            (webhook.disabled_reason, webhook.disabled_at) = (None, None);
        }
    }
    Ok(removed)
}

/// A key that nobody can guess.
pub(crate) fn new_signing_key() -> SigningKey {
    SigningKey::from_seed(rand::rng().random())
}
