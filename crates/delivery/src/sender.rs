//! One attempt: composed, signed, sent, read, judged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::{
    AttemptReport, Challenge, DeliveryId, Event, MAX_STORED_RESPONSE, VERIFICATION, whole_seconds,
};
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::response::Parts;
use hyper::{Method, Request, StatusCode};
use time::OffsetDateTime;

use crate::connections::Connections;
use crate::{DeliveryConfig, DeliveryConfigError, Endpoint, Guard, failure, retry_after};

const SIGNATURE: HeaderName = HeaderName::from_static("x-sentimatrix-signature");
const SIGNATURE_PREVIOUS: HeaderName = HeaderName::from_static("x-sentimatrix-signature-previous");
const EVENT: HeaderName = HeaderName::from_static("x-sentimatrix-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-sentimatrix-delivery");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-sentimatrix-timestamp");
const ATTEMPT: HeaderName = HeaderName::from_static("x-sentimatrix-attempt");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Makes attempts. Cloning shares the connections.
#[derive(Clone, Debug)]
pub struct Sender {
    connections: Connections,
    guard: Guard,
    timeout: Duration,
    max_response_bytes: usize,
}

impl Sender {
    /// A sender with its own pool of connections.
    ///
    /// # Errors
    /// When a setting is wrong; the error names it.
    pub fn new(config: &DeliveryConfig) -> Result<Self, DeliveryConfigError> {
        let guard = Guard::new(config)?;
        Ok(Self {
            connections: Connections::new(config, &guard)?,
            guard,
            timeout: config.timeout,
            max_response_bytes: config.max_response_bytes,
        })
    }

    /// The guard that every attempt passes.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The longest time of an attempt.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Makes attempt number `attempt` of `delivery`. Never takes longer than the time-out, and
    /// always comes back with a report: a failed attempt is no error.
    pub async fn attempt(
        &self,
        endpoint: &Endpoint,
        event: &Event,
        delivery: DeliveryId,
        attempt: u32,
    ) -> AttemptReport {
        let started_at = OffsetDateTime::now_utc();
        self.exchange(endpoint, started_at, || {
            compose(endpoint, event, delivery, attempt, started_at)
        })
        .await
    }

    /// Asks the endpoint whether it wants to be told: once, with `challenge`, signed and guarded
    /// as an attempt is. What it answered is in the report.
    pub async fn ask(&self, endpoint: &Endpoint, challenge: &Challenge) -> AttemptReport {
        let started_at = OffsetDateTime::now_utc();
        self.exchange(endpoint, started_at, || compose_question(endpoint, challenge, started_at))
            .await
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        started_at: OffsetDateTime,
        compose: impl FnOnce() -> Request<Full<Bytes>>,
    ) -> AttemptReport {
        let mut report = AttemptReport {
            started_at,
            duration: Duration::ZERO,
            status: None,
            address: None,
            response: Bytes::new(),
            retry_after: None,
            failure: None,
        };
        // Literal addresses never reach the resolver; and the rules may be stricter today than
        // on the day the webhook was made.
        if self.guard.check_parsed(&endpoint.target.url).is_err() {
            report.failure = Some(failure::blocked());
            return report;
        }
        let started = Instant::now();
        let request = Box::new(compose());
        let exchange = async {
            let (head, answer) = self.connections.send(&endpoint.target, request).await?;
            note_head(&mut report, head, answer.address());
            report.response = answer.read(MAX_STORED_RESPONSE, self.max_response_bytes).await;
            Ok(())
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => report.failure = Some(failure::of_error(&error)),
            // The head decides; a body that never ends changes nothing but the log.
            Err(_) if report.status.is_some() => {}
            Err(_) => report.failure = Some(failure::timeout()),
        }
        report.duration = started.elapsed();
        report
    }
}

/// The request, as the specification's "Headers Included" and Standard Webhooks say.
#[must_use]
pub fn compose(
    endpoint: &Endpoint,
    event: &Event,
    delivery: DeliveryId,
    attempt: u32,
    now: OffsetDateTime,
) -> Request<Full<Bytes>> {
    let content = Content {
        id: event.id.as_str(),
        kind: event.kind.as_str(),
        timestamp: &event.timestamp,
        trace: event.traceparent.as_deref(),
        body: &event.payload,
    };
    request(endpoint, &content, &delivery.to_string(), attempt, now)
}

/// The request with which an endpoint is asked whether it wants to be told. The challenge names
/// it, for it is sent once.
fn compose_question(
    endpoint: &Endpoint,
    challenge: &Challenge,
    now: OffsetDateTime,
) -> Request<Full<Bytes>> {
    let content = Content {
        id: challenge.as_str(),
        kind: VERIFICATION,
        timestamp: &whole_seconds(now),
        trace: None,
        body: &challenge.body(endpoint.webhook),
    };
    request(endpoint, &content, challenge.as_str(), 1, now)
}

/// What a request tells.
struct Content<'a> {
    id: &'a str,
    kind: &'static str,
    timestamp: &'a str,
    trace: Option<&'a str>,
    body: &'a Bytes,
}

fn request(
    endpoint: &Endpoint,
    content: &Content<'_>,
    delivery: &str,
    attempt: u32,
    now: OffsetDateTime,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(content.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.target.path.clone();
    let headers = request.headers_mut();
    headers.reserve(10 + endpoint.headers.len());
    headers.extend(endpoint.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    headers.insert(EVENT, HeaderValue::from_static(content.kind));
    set(headers, DELIVERY, delivery);
    set(headers, TIMESTAMP, content.timestamp);
    headers.insert(ATTEMPT, HeaderValue::from(attempt));
    if let Some(trace) = content.trace {
        set(headers, TRACEPARENT, trace);
    }
    sign(headers, endpoint, content, now);
    request
}

/// The headers of attempt number `attempt` as it was made at `at`, those that HTTP adds too.
/// They are not kept anywhere: the same code makes them again. Only the `traceparent` of an event
/// read back is not known.
#[must_use]
pub fn headers_sent(
    endpoint: &Endpoint,
    event: &Event,
    delivery: DeliveryId,
    attempt: u32,
    at: OffsetDateTime,
) -> Vec<(String, String)> {
    let mut request = compose(endpoint, event, delivery, attempt, at);
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(event.payload.len()));
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    request.headers().iter().map(|(name, value)| (title_case(name), text(value))).collect()
}

/// As HTTP/1.1 spells it: `X-Sentimatrix-Event`.
fn title_case(name: &HeaderName) -> String {
    let part = |part: &str| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.as_str().split('-').map(part).collect::<Vec<_>>().join("-")
}

fn sign(headers: &mut HeaderMap, endpoint: &Endpoint, content: &Content<'_>, now: OffsetDateTime) {
    let at = now.unix_timestamp();
    let Content { id, body, .. } = *content;
    set(headers, SIGNATURE, &endpoint.signer.sign(body));
    let mut standard = endpoint.signer.sign_standard(id, at, body);
    if let Some(previous) = endpoint.previous_signer(now) {
        set(headers, SIGNATURE_PREVIOUS, &previous.sign(body));
        standard.push(' ');
        standard.push_str(&previous.sign_standard(id, at, body));
    }
    set(headers, WEBHOOK_ID, id);
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at));
    set(headers, WEBHOOK_SIGNATURE, &standard);
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    let value = HeaderValue::from_str(text)
        .expect("ids, timestamps and signatures are printable ASCII by construction");
    headers.insert(name, value);
}

fn note_head(report: &mut AttemptReport, head: Parts, address: Option<SocketAddr>) {
    report.status = Some(head.status.as_u16());
    report.address = address;
    report.failure = failure::of_status(head.status);
    if matches!(head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let wish = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        report.retry_after = wish.and_then(|text| retry_after::parse(text, report.started_at));
    }
}
