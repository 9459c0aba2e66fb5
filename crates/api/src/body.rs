//! Request bodies: JSON, bounded, read strictly.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{ApiError, FieldError};
use crate::json::Unique;

/// Largest body of an ordinary request, bytes.
const SMALL: usize = 64 * 1024;

/// Largest body of a batch of events, bytes.
const LARGE: usize = 8 * 1024 * 1024;

/// Longest time that a body may take to arrive, when it is small.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that give a larger one a second more: whoever sends is waited for, but not whoever sends
/// next to nothing.
const PACE: usize = 64 * 1024;

/// The fields of a JSON object; none for an empty body where one may be left out.
#[derive(Debug)]
pub(crate) struct Fields(
    pub(crate) BTreeMap<String, Value>,
    /// `filter` as it was written: its numbers keep their digits.
    pub(crate) Option<Box<RawValue>>,
);

#[derive(Deserialize)]
struct Written {
    filter: Option<Box<RawValue>>,
}

/// The raw JSON of events.
pub(crate) struct EventsBody(pub(crate) Bytes);

impl Fields {
    pub(crate) fn read(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body).map_err(|e| ApiError::Malformed(e.to_string()))? {
            Unique(Value::Object(fields)) => {
                let filter = fields.contains_key("filter").then(|| serde_json::from_slice(body));
                let written = filter.transpose().map_err(ApiError::internal)?;
                let filter = written.and_then(|written: Written| written.filter);
                Ok(Self(fields.into_iter().collect(), filter))
            }
            _ => Err(ApiError::Invalid(vec![FieldError::new("body", "must be a JSON object")])),
        }
    }
}

impl FromRequest for Fields {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let body = read(&request, payload, SMALL).await?;
            Self::read(&body)
        })
    }
}

impl FromRequest for EventsBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { read(&request, payload, LARGE).await.map(Self) })
    }
}

/// A body that may be left out.
pub(crate) struct OptionalFields(pub(crate) Option<Fields>);

impl FromRequest for OptionalFields {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            if !request.headers().contains_key(CONTENT_TYPE) {
                let body = collect(payload, SMALL).await?;
                let none = body.is_empty();
                return if none { Ok(Self(None)) } else { Err(ApiError::UnsupportedMediaType) };
            }
            let body = read(&request, payload, SMALL).await?;
            if body.is_empty() {
                return Ok(Self(None));
            }
            Fields::read(&body).map(|fields| Self(Some(fields)))
        })
    }
}

async fn read(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    let text = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
    let media_type = text(CONTENT_TYPE).and_then(|text| text.split(';').next()).unwrap_or("");
    if !media_type.trim().eq_ignore_ascii_case("application/json")
        || request.headers().contains_key(CONTENT_ENCODING)
    {
        return Err(ApiError::UnsupportedMediaType);
    }
    // Refused by its own word, before a byte is read.
    if text(CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n > limit as u64) {
        return Err(ApiError::TooLarge(limit));
    }
    collect(payload, limit).await
}

/// Largest body of a request to this path.
pub(crate) fn limit_of(path: &str) -> usize {
    if path == "/v1/events" { LARGE } else { SMALL }
}

pub(crate) async fn collect(mut payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    let began = tokio::time::Instant::now();
    let mut body = BytesMut::new();
    loop {
        let more = Duration::from_secs((body.len() / PACE) as u64);
        let next = tokio::time::timeout_at(began + PATIENCE + more, payload.next()).await;
        let Some(chunk) = next.map_err(|_| ApiError::TooSlow)? else { break };
        let chunk = chunk.map_err(|e| ApiError::Malformed(e.to_string()))?;
        if body.len() + chunk.len() > limit {
            return Err(ApiError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
