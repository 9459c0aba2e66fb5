//! The fields of a webhook (`docs/specification.md`, "Configuration Options").

use std::collections::{BTreeMap, BTreeSet};

use delivery::Guard;
use domain::{EventSet, Filter, OwnHeaders, ProjectId, Secret, SigningScheme, UserId};
use rand::RngExt;
use serde_json::Value;
use serde_json::value::RawValue;
use store::{NewWebhook, WebhookChange};

use crate::body::Fields;
use crate::error::{ApiError, FieldError};
use crate::validation::{Form, collect, headers, kind, limits, list, object, text, whole, wrong};

type Checked<T> = Result<T, Vec<FieldError>>;

/// The webhook that `fields` ask for; with `must_verify` its endpoint has to prove first that it
/// wants to be told.
///
/// # Errors
/// [`ApiError::Invalid`] with everything that is wrong.
pub(crate) fn new_webhook(
    mut fields: Fields,
    user: UserId,
    guard: &Guard,
    must_verify: bool,
) -> Result<NewWebhook, ApiError> {
    let written = fields.1.take();
    let mut form = Form::new(fields);
    let name = form.required("name", name);
    let url = form.required("url", |value| url(value, guard));
    let events = form.required("events", events);
    let project_ids = form.optional("project_ids", project_ids).unwrap_or_default();
    let filter = form.optional("filter", |_| filter(written)).flatten();
    let rate_limit = form.optional("rate_limit", rate_limit).flatten();
    let ordered = form.optional("ordered", ordered).unwrap_or_default();
    let headers = form.optional("headers", first_headers).unwrap_or_default();
    let secret = form.optional("secret", secret).flatten();
    let signing = form.optional("signing", signing).unwrap_or_default();
    let active = form.optional("active", active).unwrap_or(true);
    let description = form.optional("description", description).flatten();
    let metadata = form.optional("metadata", metadata).unwrap_or_default();
    form.finish()?;
    let (Some(name), Some(url), Some(events)) = (name, url, events) else {
        return Err(ApiError::internal("a required field was missing and not named"));
    };
    let secret = secret.unwrap_or_else(generate_secret);
    Ok(NewWebhook {
        user,
        name,
        url,
        events,
        project_ids,
        filter,
        rate_limit,
        ordered,
        headers,
        secret,
        signing,
        active,
        description,
        metadata,
        must_verify,
    })
}

/// The change that `fields` ask for: what is left out stays as it is. With `must_verify` an
/// endpoint elsewhere has to prove first that it wants to be told.
///
/// # Errors
/// [`ApiError::Invalid`] with everything that is wrong.
pub(crate) fn change(
    mut fields: Fields,
    guard: &Guard,
    must_verify: bool,
) -> Result<WebhookChange, ApiError> {
    let written = fields.1.take();
    let mut form = Form::new(fields);
    let change = WebhookChange {
        name: form.optional("name", name),
        url: form.optional("url", |value| url(value, guard)),
        events: form.optional("events", events),
        project_ids: form.optional("project_ids", project_ids),
        filter: form.optional("filter", |_| filter(written)),
        rate_limit: form.optional("rate_limit", rate_limit),
        ordered: form.optional("ordered", ordered),
        headers: form.optional("headers", headers::own_headers),
        secret: form.optional("secret", secret).flatten(),
        signing: form.optional("signing", signing),
        active: form.optional("active", active),
        description: form.optional("description", description),
        metadata: form.optional("metadata", metadata),
        must_verify,
    };
    form.finish()?;
    Ok(change)
}

/// `whsec_` and 24 random bytes.
pub(crate) fn generate_secret() -> Secret {
    Secret::from_random(rand::rng().random())
}

fn name(value: Value) -> Checked<String> {
    let name = text("name", value, 1, limits::NAME)?;
    if name.trim().is_empty() {
        return Err(wrong("name", "must not be blank"));
    }
    Ok(name)
}

fn url(value: Value, guard: &Guard) -> Checked<String> {
    let Value::String(url) = value else {
        return Err(wrong("url", format!("must be a string, found {}", kind(&value))));
    };
    guard.check_url(&url).map_err(|refused| wrong("url", refused.to_string()))?;
    Ok(url)
}

fn events(value: Value) -> Checked<Vec<String>> {
    let entries = list("events", value, limits::EVENTS)?;
    if entries.is_empty() {
        return Err(wrong("events", "must name at least one event type"));
    }
    let mut seen = BTreeSet::new();
    collect(entries.into_iter().enumerate().map(|(i, entry)| {
        let field = format!("events[{i}]");
        let Value::String(name) = entry else {
            return Err(wrong(&field, format!("must be a string, found {}", kind(&entry))));
        };
        EventSet::parse([name.as_str()]).map_err(|e| wrong(&field, e.to_string()))?;
        if !seen.insert(name.clone()) {
            return Err(wrong(&field, format!("{name:?} stands twice")));
        }
        Ok(name)
    }))
}

fn project_ids(value: Value) -> Checked<Vec<ProjectId>> {
    let entries = list("project_ids", value, limits::PROJECTS)?;
    let mut seen = BTreeSet::new();
    collect(entries.into_iter().enumerate().map(|(i, entry)| {
        let field = format!("project_ids[{i}]");
        let expected = "must be the id of a project: 1 to 128 printable characters without spaces";
        let id: ProjectId =
            entry.as_str().and_then(|id| id.parse().ok()).ok_or_else(|| wrong(&field, expected))?;
        if !seen.insert(id.clone()) {
            return Err(wrong(&field, format!("{id:?} stands twice")));
        }
        Ok(id)
    }))
}

/// `None` for null: every event.
fn filter(written: Option<Box<RawValue>>) -> Checked<Option<Filter>> {
    let place = |at: &str| if at.is_empty() { "filter".to_owned() } else { format!("filter.{at}") };
    let read = written.map(|written| Filter::parse(written.get())).transpose();
    read.map_err(|errors| {
        errors.into_iter().map(|e| FieldError::new(place(&e.at), e.message)).collect()
    })
}

/// `None` for null: no limit of its own.
fn rate_limit(value: Value) -> Checked<Option<u32>> {
    if value.is_null() {
        return Ok(None);
    }
    let limit = whole(&value).and_then(|most| u32::try_from(most).ok());
    match limit.filter(|most| (1..=limits::RATE).contains(most)) {
        Some(limit) => Ok(Some(limit)),
        None => Err(wrong(
            "rate_limit",
            format!(
                "must be a whole number from 1 to {} (deliveries a second), or null",
                limits::RATE
            ),
        )),
    }
}

/// `None` asks for a secret to be made, as leaving it out does.
fn secret(value: Value) -> Checked<Option<Secret>> {
    if value.is_null() {
        return Ok(None);
    }
    let secret = text("secret", value, 8, 256)?;
    if secret.starts_with("whsec_...") {
        return Err(wrong("secret", "is the masked form; send the secret, or leave the field out"));
    }
    Ok(Some(Secret::new(secret)))
}

/// The headers of a new webhook, which has nothing that a mask could stand for.
fn first_headers(value: Value) -> Checked<OwnHeaders> {
    let given = headers::own_headers(value)?;
    OwnHeaders::default().after(Some(given), false).map_err(|reason| headers::refused(&reason))
}

fn signing(value: Value) -> Checked<SigningScheme> {
    let found = value.as_str().and_then(SigningScheme::of);
    found.ok_or_else(|| wrong("signing", "must be \"hmac\" or \"ed25519\""))
}

fn active(value: Value) -> Checked<bool> {
    flag("active", &value)
}

fn ordered(value: Value) -> Checked<bool> {
    flag("ordered", &value)
}

fn flag(field: &str, value: &Value) -> Checked<bool> {
    let expected = || wrong(field, format!("must be true or false, found {}", kind(value)));
    value.as_bool().ok_or_else(expected)
}

fn description(value: Value) -> Checked<Option<String>> {
    if value.is_null() {
        return Ok(None);
    }
    let Value::String(text) = value else {
        return Err(wrong("description", format!("must be a string, found {}", kind(&value))));
    };
    if text.chars().count() > 1_000 || text.contains('\0') {
        return Err(wrong("description", "must have at most 1,000 characters and no NUL"));
    }
    Ok(Some(text))
}

fn metadata(value: Value) -> Checked<BTreeMap<String, String>> {
    let entries = object("metadata", value, limits::METADATA)?;
    let checked = collect(entries.into_iter().map(|(key, value)| {
        let field = format!("metadata.{key}");
        if !(1..=limits::METADATA_KEY).contains(&key.chars().count())
            || key.chars().any(char::is_control)
        {
            return Err(wrong(&field, "a key must have 1 to 64 characters"));
        }
        Ok((key, text(&field, value, 0, limits::METADATA_VALUE)?))
    }))?;
    Ok(checked.into_iter().collect())
}
