//! A webhook's own headers: none that we set, that HTTP needs, or that proxies and clouds
//! believe.

use std::collections::BTreeSet;

use domain::{GivenHeader, GivenHeaders, MASK, MAX_OWN_HEADER_BYTES, RefusedHeaders};
use serde_json::Value;

use crate::error::FieldError;
use crate::validation::{collect, kind, limits, object, text, wrong};

/// Names that no webhook may set, in lower case.
pub(crate) const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "te",
    "trailer",
    "connection",
    "keep-alive",
    "upgrade",
    "expect",
    "http2-settings",
    "user-agent",
    "traceparent",
    "tracestate",
    "forwarded",
    "x-real-ip",
    "metadata",
    "metadata-flavor",
];

/// Nor any name that begins like one of these.
pub(crate) const RESERVED_FAMILIES: &[&str] = &[
    "proxy-",
    "x-sentimatrix-",
    "webhook-",
    "x-forwarded-",
    "x-aws-ec2-metadata-token",
    "x-google-",
    "x-amz-",
];

/// The headers of the field `headers`; what a mask stands for, the stored webhook knows.
pub(super) fn own_headers(value: Value) -> Result<GivenHeaders, Vec<FieldError>> {
    let entries = object("headers", value, limits::HEADERS)?;
    let mut seen = BTreeSet::new();
    let checked = collect(entries.into_iter().map(|(name, value)| {
        let field = format!("headers.{name}");
        check_name(&field, &name)?;
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(wrong(&field, "stands twice in different case"));
        }
        Ok((name, given(&field, value)?))
    }))?;
    let given: GivenHeaders = checked.into_iter().collect();
    let value = |header: &GivenHeader| header.value.as_ref().map_or(0, String::len);
    let bytes: usize = given.iter().map(|(name, header)| name.len() + value(header)).sum();
    if bytes > MAX_OWN_HEADER_BYTES {
        return Err(refused(&RefusedHeaders::TooLarge(bytes)));
    }
    Ok(given)
}

/// One header: its value, or an object that says too whether it is sensitive.
fn given(field: &str, value: Value) -> Result<GivenHeader, Vec<FieldError>> {
    let Value::Object(mut parts) = value else {
        return Ok(GivenHeader { value: header_value(field, value)?, sensitive: None });
    };
    let mut wrong_parts = Vec::new();
    let value_field = format!("{field}.value");
    let value = match parts.remove("value") {
        Some(value) => header_value(&value_field, value),
        None => Err(wrong(&value_field, "is required")),
    };
    let value = value.unwrap_or_else(|errors| {
        wrong_parts.extend(errors);
        None
    });
    let sensitive = match parts.remove("sensitive") {
        None => None,
        Some(Value::Bool(sensitive)) => Some(sensitive),
        Some(other) => {
            let message = format!("must be true or false, found {}", kind(&other));
            wrong_parts.extend(wrong(&format!("{field}.sensitive"), message));
            None
        }
    };
    let unknown = parts.keys().map(|part| {
        FieldError::new(format!("{field}.{part}"), "is not known; a header has value and sensitive")
    });
    wrong_parts.extend(unknown);
    if wrong_parts.is_empty() { Ok(GivenHeader { value, sensitive }) } else { Err(wrong_parts) }
}

/// `None` for the mask.
fn header_value(field: &str, value: Value) -> Result<Option<String>, Vec<FieldError>> {
    let value = text(field, value, 0, limits::HEADER_VALUE)?;
    if !value.is_ascii() {
        return Err(wrong(field, "must be ASCII"));
    }
    Ok((value != MASK).then_some(value))
}

/// What is wrong with headers as a whole, or with masks among them.
pub(crate) fn refused(reason: &RefusedHeaders) -> Vec<FieldError> {
    let masked = "is the masked form, and no masked value is kept for it; \
                  send the value, or leave the header out";
    match reason {
        RefusedHeaders::NothingMasked(names) => {
            let field = |name: &String| FieldError::new(format!("headers.{name}"), masked);
            names.iter().map(field).collect()
        }
        RefusedHeaders::TooLarge(_) => wrong("headers", reason.to_string()),
    }
}

/// A token of RFC 9110, section 5.6.2, that is not reserved.
fn check_name(field: &str, name: &str) -> Result<(), Vec<FieldError>> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !(1..=limits::HEADER_NAME).contains(&name.len()) || !name.bytes().all(token) {
        return Err(wrong(field, "is not the name of a header (RFC 9110)"));
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || RESERVED_FAMILIES.iter().any(|f| lower.starts_with(f))
    {
        return Err(wrong(field, "is reserved and cannot be set"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    #[test]
    fn reserved_names_are_refused_in_any_case() {
        for name in [
            "Host",
            "content-LENGTH",
            "Transfer-Encoding",
            "Proxy-Authorization",
            "User-Agent",
            "X-Sentimatrix-Signature",
            "webhook-id",
            "traceparent",
            "X-Forwarded-For",
            "X-Real-IP",
            "X-aws-ec2-metadata-token-ttl-seconds",
            "X-Google-Metadata-Request",
            "X-Amz-Date",
            "Metadata",
            "a b",
            "a:",
            "",
            "é",
            ":path",
            "a\r\nb",
        ] {
            assert!(own_headers(json!({ name: "v" })).is_err(), "{name:?}");
        }
    }

    #[test]
    fn plain_headers_pass_and_dangerous_values_do_not() {
        assert!(
            own_headers(json!({ "Authorization": "Bearer x", "X-Custom-Header": "value" })).is_ok()
        );
        for value in
            [json!("a\r\nb"), json!("é"), json!("\u{7f}"), json!(1), json!("x".repeat(4_097))]
        {
            assert!(own_headers(json!({ "X-A": value })).is_err());
        }
        assert!(own_headers(json!({ "X-A": "1", "x-a": "2" })).is_err());
        let masked = own_headers(json!({ "X-A": "***", "X-B": { "value": "***" } })).unwrap();
        assert!(masked.values().all(|header| header.value.is_none()));
        let many: BTreeMap<String, &str> = (0..21).map(|i| (format!("X-{i}"), "v")).collect();
        assert!(own_headers(json!(many)).is_err());
    }
}
