//! Webhooks as rows: lists and maps as JSON text in the order given, what is secret sealed.

use std::collections::{BTreeMap, BTreeSet};

use domain::{OwnHeaders, ProjectId, Secret, SigningKey, Webhook, WebhookId};
use serde::de::DeserializeOwned;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::StoreError;
use crate::entity::webhook;
use crate::instant::{from_micros, to_micros};
use crate::keyring::{Keyring, Place};

/// The row of `webhook`, its secrets and headers sealed.
///
/// # Errors
/// [`StoreError::InvalidText`].
pub(crate) fn row_of(keyring: &Keyring, webhook: &Webhook) -> Result<webhook::Model, StoreError> {
    check_texts(webhook)?;
    let row = webhook.id.as_uuid();
    let seal_bytes =
        |column, bytes: &[u8]| keyring.seal(place(&row, webhook.user.as_str(), column), bytes);
    let seal = |column, text: &str| seal_bytes(column, text.as_bytes());
    let seal_key = |column, key: &SigningKey| seal_bytes(column, key.expose());
    let previous = webhook.previous_secret.as_ref();
    let headers = to_json(webhook.headers.values());
    let marked = Some(webhook.headers.marked()).filter(|marked| !marked.is_empty());
    let previous_key = webhook.previous_signing_key.as_ref();
    Ok(webhook::Model {
        id: row,
        user_id: webhook.user.to_string(),
        name: webhook.name.clone(),
        url: webhook.url.clone(),
        events: to_json(&webhook.events),
        project_ids: to_json(&webhook.project_ids),
        headers: seal("headers", &headers),
        secret: seal("secret", webhook.secret.expose()),
        previous_secret: previous.map(|(old, _)| seal("previous_secret", old.expose())),
        previous_until: previous.map(|(_, until)| to_micros(*until)),
        active: webhook.active,
        description: webhook.description.clone(),
        metadata: to_json(&webhook.metadata),
        disabled_reason: webhook.disabled_reason.clone(),
        disabled_at: webhook.disabled_at.map(to_micros),
        created_at: to_micros(webhook.created_at),
        updated_at: to_micros(webhook.updated_at),
        filter: webhook.filter.clone(),
        rate_limit: webhook.rate_limit.map(|most| i32::try_from(most).unwrap_or(i32::MAX)),
        request_changed_at: webhook.request_changed_at.map(to_micros),
        sensitive_headers: marked.map(|marked| seal("sensitive_headers", &to_json(marked))),
        signing_key: webhook.signing_key.as_ref().map(|key| seal_key("signing_key", key)),
        previous_signing_key: previous_key.map(|key| seal_key("previous_signing_key", key)),
        pending_since: webhook.pending_since.map(to_micros),
        verified_at: webhook.verified_at.map(to_micros),
        ordered: i16::from(webhook.ordered),
    })
}

/// Every sealed value of a row, with its column and that column's name.
pub(crate) fn sealed_values(
    row: &webhook::Model,
) -> [(&'static str, webhook::Column, Option<&Vec<u8>>); 6] {
    use webhook::Column;
    [
        ("secret", Column::Secret, Some(&row.secret)),
        ("headers", Column::Headers, Some(&row.headers)),
        ("previous_secret", Column::PreviousSecret, row.previous_secret.as_ref()),
        ("sensitive_headers", Column::SensitiveHeaders, row.sensitive_headers.as_ref()),
        ("signing_key", Column::SigningKey, row.signing_key.as_ref()),
        ("previous_signing_key", Column::PreviousSigningKey, row.previous_signing_key.as_ref()),
    ]
}

/// Where a sealed value of a webhook stands.
pub(crate) fn place<'a>(id: &'a Uuid, owner: &'a str, column: &'static str) -> Place<'a> {
    Place { table: "webhooks", row: id.as_bytes(), owner, column }
}

/// What stands in a column as it is must be without NUL. JSON escapes it, seals hide it.
fn check_texts(webhook: &Webhook) -> Result<(), StoreError> {
    let description = webhook.description.as_deref().unwrap_or_default();
    let texts =
        [("name", webhook.name.as_str()), ("url", &webhook.url), ("description", description)];
    match texts.into_iter().find(|(_, text)| text.contains('\0')) {
        Some((field, _)) => Err(StoreError::InvalidText(field)),
        None => Ok(()),
    }
}

/// The webhook of a row.
///
/// # Errors
/// [`StoreError::Corrupt`] when no key opens what is sealed, or a column cannot be read.
pub(crate) fn webhook_of(keyring: &Keyring, row: webhook::Model) -> Result<Webhook, StoreError> {
    let open_bytes =
        |column, sealed: &[u8]| keyring.open(place(&row.id, &row.user_id, column), sealed);
    let open = |column, sealed: &[u8]| {
        String::from_utf8(open_bytes(column, sealed)?).map_err(|e| corrupt(&e))
    };
    let open_key = |column, sealed: &Option<Vec<u8>>| {
        let seed = sealed.as_ref().map(|sealed| open_bytes(column, sealed)).transpose()?;
        seed.map(signing_key).transpose()
    };
    let marked = match &row.sensitive_headers {
        Some(sealed) => of_json::<BTreeSet<String>>(&open("sensitive_headers", sealed)?)?,
        None => BTreeSet::new(),
    };
    let headers = of_json::<BTreeMap<String, String>>(&open("headers", &row.headers)?)?;
    let previous = match (&row.previous_secret, row.previous_until) {
        (Some(sealed), Some(until)) => {
            Some((Secret::new(open("previous_secret", sealed)?), from_micros(until)?))
        }
        _ => None,
    };
    let projects: Vec<String> = of_json(&row.project_ids)?;
    Ok(Webhook {
        id: WebhookId::from_uuid(row.id),
        user: row.user_id.parse().map_err(|e| corrupt(&e))?,
        events: of_json(&row.events)?,
        project_ids: projects
            .iter()
            .map(|id| id.parse::<ProjectId>())
            .collect::<Result<_, _>>()
            .map_err(|e| corrupt(&e))?,
        headers: OwnHeaders::stored(headers, marked),
        secret: Secret::new(open("secret", &row.secret)?),
        previous_secret: previous,
        signing_key: open_key("signing_key", &row.signing_key)?,
        previous_signing_key: open_key("previous_signing_key", &row.previous_signing_key)?,
        metadata: of_json(&row.metadata)?,
        name: row.name,
        url: row.url,
        active: row.active,
        description: row.description,
        disabled_reason: row.disabled_reason,
        disabled_at: row.disabled_at.map(from_micros).transpose()?,
        created_at: from_micros(row.created_at)?,
        updated_at: from_micros(row.updated_at)?,
        filter: row.filter,
        rate_limit: row.rate_limit.and_then(|most| u32::try_from(most).ok()),
        ordered: row.ordered != 0,
        request_changed_at: row.request_changed_at.map(from_micros).transpose()?,
        pending_since: row.pending_since.map(from_micros).transpose()?,
        verified_at: row.verified_at.map(from_micros).transpose()?,
    })
}

fn signing_key(seed: Vec<u8>) -> Result<SigningKey, StoreError> {
    let seed = Zeroizing::new(seed);
    let seed: [u8; 32] = seed.as_slice().try_into().map_err(|e| corrupt(&e))?;
    Ok(SigningKey::from_seed(seed))
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts, lists and maps of texts are JSON")
}

fn of_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    // Not serde's own words, which may repeat a header's value.
    serde_json::from_str(text)
        .map_err(|e| corrupt(&format!("line {}, column {}", e.line(), e.column())))
}

fn corrupt(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::corrupt("webhook", error)
}
