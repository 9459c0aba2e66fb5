//! Which pages may call the API from a browser (CORS).

use actix_cors::Cors;
use actix_web::http::Uri;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use actix_web::middleware::Condition;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// How long a browser remembers that it may, seconds.
const REMEMBERED: usize = 600;

/// Origins such as `https://studio.example`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

/// Answers browsers by the list; switched off where it is empty. Cookies are not asked for:
/// tokens stand in a header.
pub(crate) fn cors(origins: &Origins) -> Condition<Cors> {
    let listed = origins.0.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
    let cors = listed
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([AUTHORIZATION, CONTENT_TYPE])
        .allowed_headers(["idempotency-key", "last-event-id", "traceparent", "x-request-id"])
        .expose_headers(["x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining"])
        .expose_headers(["x-ratelimit-reset", RETRY_AFTER.as_str(), "idempotent-replayed"])
        .max_age(REMEMBERED);
    Condition::new(!origins.0.is_empty(), cors)
}

/// `https://studio.example` or `http://localhost:3000`: what a browser sends, and no more.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let (scheme, authority) = (uri.scheme_str(), uri.authority());
    matches!(scheme, Some("http" | "https"))
        && authority.is_some_and(|authority| !authority.as_str().contains(['@', '*']))
        && authority.is_some_and(|authority| text.ends_with(authority.as_str()))
        && text.bytes().all(|byte| !byte.is_ascii_uppercase())
}

impl<'de> Deserialize<'de> for Origins {
    /// Separated by commas, or a list; `*` is none, for it would open the API to every page.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let texts = domain::setting::texts(d)?;
        match texts.iter().find(|text| !is_origin(text)) {
            None => Ok(Self(texts)),
            Some(text) => Err(D::Error::custom(format!(
                "expected origins such as https://studio.example, in lower case, without a path, \
                 found {text:?}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for right in ["https://a.example", "http://localhost:3000", "http://[::1]:80"] {
            assert!(is_origin(right), "{right}");
        }
        for wrong in [
            "*",
            "null",
            "https://*.example",
            "https://a.example/",
            "https://a.example/path",
            "https://a@b.example",
            "https://A.example",
            "a.example",
            "ftp://a.example",
            "https://",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
