//! `Idempotency-Key` on every POST: the same request again gets the same answer for 24 hours.
//! A request without the header costs one look at its headers.
//!
//! It stands behind the proof of rights, on routes alone: whoever gets here may ask for what the
//! route does, today. A kept answer is found by the user that it is about, by who acted for them,
//! by the key, and by everything that was asked for.

use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header::HeaderName};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpMessage, HttpResponse};
use domain::UserId;
use sha2::{Digest, Sha256};
use store::{Claimed, KeyedRequest, LARGEST_ANSWER};
use tokio::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

use crate::caller::{Caller, Proven, unmounted};
use crate::error::{ApiError, FieldError};
use crate::seed::Seed;
use crate::{Api, body};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Set on an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Longest key, characters.
const LONGEST: usize = 255;

/// How long a request under way keeps its key: longer than any request takes. After a crash the
/// same request can be made again once this is over.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// How long a request waits for the answer of the same one under way.
const WAIT: Duration = Duration::from_secs(5);

/// The shortest and the longest pause between two looks for that answer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// Stands between the subject and the key of who acts for another; no key has it.
const BETWEEN: char = '\u{1f}';

/// A request with a key.
struct Keyed {
    api: Data<Api>,
    /// The user that the request is about: what is kept of it goes with them.
    user: UserId,
    /// The key, of the one who acts.
    key: String,
    fingerprint: [u8; 32],
}

/// Middleware on every POST, behind the proof of its right: answers what was answered before, and
/// keeps the answer of what was not.
pub(crate) async fn once(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !request.headers().contains_key(&KEY) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let claimed = match Keyed::read(&mut request).await {
        Ok(keyed) => keyed.claim().await.map(|seed| (keyed, seed)),
        Err(error) => Err(error),
    };
    let (keyed, seed) = match claimed {
        Ok((keyed, Claim::New(seed))) => (keyed, seed),
        Ok((_, Claim::Answered(answer))) => return Ok(request.into_response(answer)),
        Err(error) => return Ok(request.error_response(error)),
    };
    request.extensions_mut().insert(Seed(seed));
    let work = async move {
        let answer = next.call(request).await.map(ServiceResponse::map_into_boxed_body);
        keyed.keep(seed, answer).await
    };
    // By itself: a caller who goes away in the middle will ask again, and for the outcome.
    let working = actix_web::rt::spawn(work.instrument(tracing::Span::current()));
    working.await.unwrap_or_else(|e| Err(ApiError::internal(e).into()))
}

/// What a claim came to.
enum Claim {
    New(Uuid),
    Answered(HttpResponse),
}

impl Keyed {
    /// The key, its user and what is asked for; the body is put back for the handler.
    async fn read(request: &mut ServiceRequest) -> Result<Self, ApiError> {
        let api = request.app_data::<Data<Api>>().cloned().ok_or_else(unmounted)?;
        let key = key(request)?;
        let (user, key) = match request.extensions().get::<Proven>() {
            Some(proven) => (proven.caller().user.clone(), own(proven.caller(), key)),
            None => return Err(ApiError::internal("a kept answer was asked for without a right")),
        };
        let payload = request.take_payload();
        let body = body::collect(payload, body::limit_of(request.path())).await?;
        let fingerprint = fingerprint(request, &body);
        request.set_payload(Payload::from(body));
        Ok(Self { api, user, key, fingerprint })
    }

    fn request(&self) -> KeyedRequest<'_> {
        KeyedRequest { user: &self.user, key: &self.key, fingerprint: &self.fingerprint }
    }

    async fn claim(&self) -> Result<Claim, ApiError> {
        let until = Instant::now() + WAIT;
        let mut pause = PAUSES.0;
        loop {
            match self.api.store.claim_key(self.request(), UNDER_WAY).await? {
                Claimed::New(seed) => return Ok(Claim::New(seed)),
                Claimed::Answered { status, body } => return answer(status, body),
                Claimed::Taken => {
                    let message = "was used for another request within 24 hours; \
                                   take a new key for a new request";
                    let wrong = FieldError::new("Idempotency-Key", message);
                    return Err(ApiError::Invalid(vec![wrong]));
                }
                Claimed::UnderWay if Instant::now() >= until => return Err(ApiError::KeyInUse),
                Claimed::UnderWay => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Keeps a success; a refusal did nothing and leaves the key free, and after a failure of
    /// ours the same request may be made again.
    async fn keep(
        self,
        seed: Uuid,
        answer: Result<ServiceResponse<BoxBody>, Error>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        let status = match &answer {
            Ok(answer) => answer.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        if !status.is_success() {
            self.release(seed, status.is_client_error()).await;
            return answer;
        }
        let (request, response) = answer?.into_parts();
        let (head, body) = response.into_parts();
        let body = to_bytes(body).await.unwrap_or_default();
        self.store(seed, status, &body).await;
        Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(body))))
    }

    async fn store(&self, seed: Uuid, status: StatusCode, body: &Bytes) {
        if body.len() > LARGEST_ANSWER || !self.api.key_bounds.takes(body.len()) {
            return self.release(seed, false).await;
        }
        let kept = self.api.store.answer_key(self.request(), seed, status.as_u16(), body).await;
        if let Err(error) = kept {
            // The work is done; made again, it makes the same ids.
            tracing::warn!("an answer was not kept for its idempotency key: {error}");
        }
        self.count(body.len()).await;
    }

    async fn release(&self, seed: Uuid, forget: bool) {
        if let Err(error) = self.api.store.release_key(self.request(), seed, forget).await {
            tracing::warn!("an idempotency key is in use for {UNDER_WAY:?} more: {error}");
        }
        if !forget {
            self.count(0).await;
        }
    }

    /// Counts what is kept of the key.
    async fn count(&self, answer: usize) {
        let bytes = self.key.len() + answer;
        self.api.key_bounds.count(&self.api.store, &self.user, bytes).await;
    }
}

/// The key among those of the user that the caller acts for: nobody else's, whoever they are.
fn own(caller: &Caller, key: String) -> String {
    if caller.for_another { format!("{}{BETWEEN}{key}", caller.subject) } else { key }
}

fn key(request: &ServiceRequest) -> Result<String, ApiError> {
    let mut given = request.headers().get_all(&KEY);
    let plain = |text: &&str| {
        (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| matches!(b, 0x20..=0x7e))
    };
    let key = match (given.next(), given.next()) {
        (Some(value), None) => value.to_str().ok().filter(plain),
        _ => None,
    };
    key.map(str::to_owned).ok_or_else(|| {
        let message = "must be one text of 1 to 255 printable ASCII characters";
        ApiError::Invalid(vec![FieldError::new("Idempotency-Key", message)])
    })
}

/// A hash of everything that a request asks for.
fn fingerprint(request: &ServiceRequest, body: &Bytes) -> [u8; 32] {
    let query = request.query_string();
    let parts: [&[u8]; 3] = [request.path().as_bytes(), query.as_bytes(), body];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn answer(status: u16, body: Vec<u8>) -> Result<Claim, ApiError> {
    let status = StatusCode::from_u16(status).map_err(ApiError::internal)?;
    let answer = HttpResponse::build(status)
        .insert_header((REPLAYED, "true"))
        .content_type("application/json")
        .body(body);
    Ok(Claim::Answered(answer))
}
