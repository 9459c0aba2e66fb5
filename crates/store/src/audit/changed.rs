//! Which fields of a webhook were changed: their names, as the API calls them.

use domain::{Secret, SigningKey, Webhook};
use time::OffsetDateTime;

/// The names of the fields in which the two differ.
pub(crate) fn changed(before: &Webhook, after: &Webhook) -> Vec<&'static str> {
    // Every field stands here, so that none is added without a thought of the audit trail.
    let Webhook {
        id: _,
        user: _,
        name,
        url,
        events,
        project_ids,
        filter,
        rate_limit,
        ordered,
        headers,
        secret,
        previous_secret,
        signing_key,
        previous_signing_key: _,
        active,
        description,
        metadata,
        disabled_reason: _,
        disabled_at: _,
        created_at: _,
        updated_at: _,
        request_changed_at: _,
        pending_since,
        verified_at: _,
    } = after;
    let until = |previous: &Option<(Secret, OffsetDateTime)>| previous.as_ref().map(|(_, at)| *at);
    let public = |key: &Option<SigningKey>| key.as_ref().map(SigningKey::public_key);
    let fields = [
        ("name", *name != before.name),
        ("url", *url != before.url),
        ("events", *events != before.events),
        ("project_ids", *project_ids != before.project_ids),
        ("filter", *filter != before.filter),
        ("rate_limit", *rate_limit != before.rate_limit),
        ("ordered", *ordered != before.ordered),
        ("headers", *headers != before.headers),
        ("secret", secret.expose() != before.secret.expose()),
        ("previous_secret", until(previous_secret) != until(&before.previous_secret)),
        ("signing", signing_key.is_some() != before.signing_key.is_some()),
        ("public_key", public(signing_key) != public(&before.signing_key)),
        ("verification", pending_since.is_some() != before.pending_since.is_some()),
        ("active", *active != before.active),
        ("description", *description != before.description),
        ("metadata", *metadata != before.metadata),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
