//! Fields of requests, checked one by one, with everything that is wrong collected: the user
//! reads all of it at once.

mod headers;
mod webhook;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::body::Fields;
use crate::error::{ApiError, FieldError};

pub(crate) use headers::{RESERVED, RESERVED_FAMILIES, refused as refused_headers};
pub(crate) use webhook::{change, generate_secret, new_webhook};

/// What fields may have at most; the document shows the same.
pub(crate) mod limits {
    /// Characters of a webhook's name.
    pub(crate) const NAME: usize = 100;
    /// Entries of `events`: each type at most once.
    pub(crate) const EVENTS: usize = 12;
    /// Entries of `project_ids`.
    pub(crate) const PROJECTS: usize = 100;
    /// Largest `rate_limit`, deliveries in one second.
    pub(crate) const RATE: u32 = 1_000;
    /// Headers of one webhook.
    pub(crate) const HEADERS: usize = 20;
    /// Bytes of a header's name.
    pub(crate) const HEADER_NAME: usize = 128;
    /// Bytes of a header's value.
    pub(crate) const HEADER_VALUE: usize = 4 * 1024;
    /// Entries of `metadata`.
    pub(crate) const METADATA: usize = 50;
    /// Characters of a key of `metadata`.
    pub(crate) const METADATA_KEY: usize = 64;
    /// Characters of a value of `metadata`.
    pub(crate) const METADATA_VALUE: usize = 500;
}

/// The fields of a request that are not looked at yet, and what is wrong so far.
pub(crate) struct Form {
    fields: BTreeMap<String, Value>,
    errors: Vec<FieldError>,
}

impl Form {
    pub(crate) fn new(fields: Fields) -> Self {
        Self { fields: fields.0, errors: Vec::new() }
    }

    /// Takes `name`, if it is given; `read` says what is wrong with it.
    pub(crate) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, Vec<FieldError>>,
    ) -> Option<T> {
        match read(self.fields.remove(name)?) {
            Ok(value) => Some(value),
            Err(errors) => {
                self.errors.extend(errors);
                None
            }
        }
    }

    /// Takes `name`, which must be given.
    pub(crate) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, Vec<FieldError>>,
    ) -> Option<T> {
        if !self.fields.contains_key(name) {
            self.errors.push(FieldError::new(name, "is required"));
        }
        self.optional(name, read)
    }

    /// Nothing wrong, and no field that this request does not have.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        let unknown = self.fields.into_keys();
        self.errors
            .extend(unknown.map(|name| FieldError::new(name, "is not a field of this request")));
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.errors)) }
    }
}

/// One thing that is wrong with `field`.
fn wrong(field: &str, message: impl Into<String>) -> Vec<FieldError> {
    vec![FieldError::new(field, message)]
}

/// What a value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A whole number, however it is written: `60` and `60.0` are the same in JSON.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    // Up to here doubles are exact.
    let exact =
        |number: &f64| number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}

/// A text of `least` to `most` characters, without control characters.
fn text(field: &str, value: Value, least: usize, most: usize) -> Result<String, Vec<FieldError>> {
    let Value::String(text) = value else {
        return Err(wrong(field, format!("must be a string, found {}", kind(&value))));
    };
    let length = text.chars().count();
    if length < least || length > most {
        return Err(wrong(
            field,
            format!("must have {least} to {most} characters, found {length}"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(field, "must not contain control characters"));
    }
    Ok(text)
}

fn list(field: &str, value: Value, most: usize) -> Result<Vec<Value>, Vec<FieldError>> {
    match value {
        Value::Array(list) if list.len() <= most => Ok(list),
        Value::Array(list) => {
            let message = format!("must have at most {most} entries, found {}", list.len());
            Err(wrong(field, message))
        }
        other => Err(wrong(field, format!("must be an array of strings, found {}", kind(&other)))),
    }
}

fn object(
    field: &str,
    value: Value,
    most: usize,
) -> Result<BTreeMap<String, Value>, Vec<FieldError>> {
    match value {
        Value::Object(map) if map.len() <= most => Ok(map.into_iter().collect()),
        Value::Object(map) => {
            Err(wrong(field, format!("must have at most {most} entries, found {}", map.len())))
        }
        other => Err(wrong(
            field,
            format!("must be an object with string values, found {}", kind(&other)),
        )),
    }
}

/// Everything that is wrong with the entries, or all of them.
fn collect<T, E>(results: impl IntoIterator<Item = Result<T, Vec<E>>>) -> Result<Vec<T>, Vec<E>> {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(errors) => bad.extend(errors),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        for (value, expected) in [
            (json!(60), Some(60)),
            (json!(60.0), Some(60)),
            (json!(6e1), Some(60)),
            (json!(0.0), Some(0)),
            (json!(60.5), None),
            (json!(-1.0), None),
            (json!(1e300), None),
            (json!("60"), None),
            (json!(true), None),
        ] {
            assert_eq!(whole(&value), expected, "{value}");
        }
    }
}
