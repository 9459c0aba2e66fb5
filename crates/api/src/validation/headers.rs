//! A webhook's own headers: none that we set, that HTTP needs, or that proxies and clouds
//! believe.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::FieldError;
use crate::validation::{collect, limits, object, text, wrong};
use crate::view::MASK;

/// The bytes of all headers of one webhook, at most.
const MOST_BYTES: usize = 8 * 1024;

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

/// The headers of the field `headers`.
pub(super) fn own_headers(value: Value) -> Result<BTreeMap<String, String>, Vec<FieldError>> {
    let entries = object("headers", value, limits::HEADERS)?;
    let mut seen = BTreeSet::new();
    let checked = collect(entries.into_iter().map(|(name, value)| {
        let field = format!("headers.{name}");
        check_name(&field, &name)?;
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(wrong(&field, "stands twice in different case"));
        }
        let value = text(&field, value, 0, limits::HEADER_VALUE)?;
        if value == MASK {
            // Somebody sends back what they read: the value would be lost.
            return Err(wrong(
                &field,
                "is the masked form; send the value, or leave `headers` out",
            ));
        }
        if !value.is_ascii() {
            return Err(wrong(&field, "must be ASCII"));
        }
        Ok((name, value))
    }))?;
    let bytes: usize = checked.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MOST_BYTES {
        return Err(wrong(
            "headers",
            format!("must have at most {MOST_BYTES} bytes, found {bytes}"),
        ));
    }
    Ok(checked.into_iter().collect())
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
        for value in [
            json!("***"),
            json!("a\r\nb"),
            json!("é"),
            json!("\u{7f}"),
            json!(1),
            json!("x".repeat(4_097)),
        ] {
            assert!(own_headers(json!({ "X-A": value })).is_err());
        }
        assert!(own_headers(json!({ "X-A": "1", "x-a": "2" })).is_err());
        let many: BTreeMap<String, &str> = (0..21).map(|i| (format!("X-{i}"), "v")).collect();
        assert!(own_headers(json!(many)).is_err());
    }
}
