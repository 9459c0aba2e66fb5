//! Every request: its id, its line in the log, and the headers that every answer has.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage};
use domain::RequestId;
use tracing::Instrument;

use crate::limits::Remaining;
use crate::{head, metrics};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a path that are logged.
const LOGGED_PATH: usize = 256;

/// Stands in error answers until the id is filled in: of the same length as the ids we make.
pub(crate) const PLACE: &str = "req_00000000000000000000000000000000";

/// The id of a request: the caller's, or one that we made.
pub(crate) struct RequestName(pub(crate) String);

/// Middleware round every request: gives it an id, logs it, finishes its answer. The log has the
/// path and never the query, which may hold a token.
///
/// # Errors
/// What the inner services give.
pub async fn observe(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.extensions().contains::<RequestName>() {
        // Mounted around several services, and around one of them.
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let _under_way = metrics::UnderWay::begin();
    let began = Instant::now();
    let name = name(request.headers());
    request.extensions_mut().insert(RequestName(name.clone()));
    // The path without its query, which may hold a token.
    let method = request.method().clone();
    let path = logged(request.path()).to_owned();
    let span = tracing::info_span!("request", request.id = %name);
    let held = head::hold_chunks(&mut request);
    let answer = match head::check(request.head()) {
        Ok(()) => next.call(request).instrument(span).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error),
    };
    let mut answer = if answer.response().error().is_some() || answer.status().as_u16() >= 400 {
        fill_in(answer, &name).await?
    } else {
        answer
    };
    if let Some(held) = held {
        answer = answer.map_body(|_, body| held.beside(body));
    }
    let remaining = answer.request().extensions().get::<Remaining>().copied();
    finish(answer.headers_mut(), &name, remaining);
    let (status, took) = (answer.status().as_u16(), began.elapsed());
    let route = answer.request().match_pattern();
    metrics::count(method.as_str(), route.as_deref().unwrap_or("unknown"), status, took);
    // Probes come every few seconds and say nothing.
    if !matches!(path.as_str(), "/healthz" | "/readyz") {
        let duration_ms = took.as_micros() as f64 / 1_000.0;
        tracing::info!(request.id = %name, %method, path, status, duration_ms, "{method} answered {status}");
    }
    Ok(answer)
}

/// The beginning of a path, as far as it is logged.
fn logged(path: &str) -> &str {
    path.char_indices().nth(LOGGED_PATH).map_or(path, |(end, _)| &path[..end])
}

/// The caller's id where it is plain, so that it can stand in logs and answers.
fn name(headers: &HeaderMap) -> String {
    let plain = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(|| RequestId::generate().to_string(), str::to_owned)
}

/// Puts the id into an error answer.
async fn fill_in(
    answer: ServiceResponse<BoxBody>,
    name: &str,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (request, response) = answer.into_parts();
    let (head, body) = response.into_parts();
    let bytes = actix_web::body::to_bytes(body).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace(PLACE, name);
    Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(text))))
}

fn finish(headers: &mut HeaderMap, name: &str, remaining: Option<Remaining>) {
    // All that follow, at once.
    headers.reserve(9);
    let text = |text: &str| HeaderValue::from_str(text).ok();
    if let Some(value) = text(name) {
        headers.insert(REQUEST_ID, value);
    }
    let fixed = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        // The page of the API's description brings a policy of its own.
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    for (name, number) in remaining.iter().flat_map(Remaining::headers) {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
    }
}
