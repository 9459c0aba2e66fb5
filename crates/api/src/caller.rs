//! Who is calling. A handler that takes one of these as an argument cannot be reached without
//! the right that its name says.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};

use access::{Access, Denied, Verifier};
use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};
use domain::UserId;
use time::OffsetDateTime;

use crate::Api;
use crate::error::ApiError;
use crate::limits::Remaining;
use crate::query::Query;

/// May see what is the user's: the caller, or, with `?user_id=`, whom an admin acts for.
pub(crate) struct Reader {
    pub(crate) user: UserId,
}

/// May change what is the user's.
pub(crate) struct Writer {
    pub(crate) user: UserId,
}

/// May publish events of any user.
pub(crate) struct Service;

pub(crate) fn unmounted() -> ApiError {
    ApiError::internal("the routes were mounted without the API")
}

/// The token of a request: one header, one spelling.
fn token(request: &HttpRequest) -> Option<&str> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (first, second) = (headers.next(), headers.next());
    match (first, second) {
        (Some(value), None) => value.to_str().ok()?.strip_prefix("Bearer "),
        _ => None,
    }
}

/// Middleware: when a token names a key that we do not know yet, waits for it, so that whatever
/// asks who is calling need not.
pub(crate) async fn learn_key(
    verifier: Verifier,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Some(token) = token(request.request()) {
        verifier.learn(token, OffsetDateTime::now_utc()).await;
    }
    next.call(request).await
}

fn authenticate(request: &HttpRequest) -> Result<(Access, &Api), ApiError> {
    let api = request.app_data::<Data<Api>>().ok_or_else(unmounted)?;
    let token = token(request).ok_or(ApiError::Unauthorized(
        "send an access token in one header: Authorization: Bearer <access_token>",
    ))?;
    let access = api.verifier.verify(token, OffsetDateTime::now_utc()).map_err(|e| match e {
        Denied::Expired(_) => ApiError::Unauthorized("the access token has expired"),
        Denied::Invalid => match api.limits.count_wrong_token(client(request, api)) {
            Ok(()) => ApiError::Unauthorized("the access token is not valid"),
            Err(too_many) => too_many,
        },
    })?;
    Ok((access, api))
}

/// Where a request comes from, as far as that can be believed.
fn client(request: &HttpRequest, api: &Api) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let lines = request.headers().get_all("x-forwarded-for");
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    api.config.trusted_proxies.client(peer, lines.into_iter())
}

/// Counts the request against the limit of the one who makes it, once.
fn count(request: &HttpRequest, access: &Access, api: &Api) -> Result<(), ApiError> {
    if request.extensions().contains::<Remaining>() {
        return Ok(());
    }
    let Some(remaining) = api.limits.count(&access.user) else {
        return Ok(());
    };
    request.extensions_mut().insert(remaining);
    remaining.check()
}

/// Who makes a request, counted; publishing is not.
///
/// # Errors
/// [`ApiError::Unauthorized`], [`ApiError::TooManyRequests`].
pub(crate) fn counted(request: &HttpRequest) -> Result<UserId, ApiError> {
    let (access, api) = authenticate(request)?;
    if !access.roles.is_service() {
        count(request, &access, api)?;
    }
    Ok(access.user)
}

/// The user that a request is for, counted against the limit of the one who makes it.
fn user(
    request: &HttpRequest,
    allowed: impl Fn(&Access) -> bool,
    refusal: &'static str,
) -> Result<UserId, ApiError> {
    let (access, api) = authenticate(request)?;
    count(request, &access, api)?;
    if !allowed(&access) {
        return Err(ApiError::Forbidden(refusal));
    }
    match Query::user(request)? {
        None => Ok(access.user),
        Some(user) if access.roles.is_admin() => Ok(user),
        Some(_) => Err(ApiError::Forbidden("acting for another user needs the role admin")),
    }
}

impl FromRequest for Reader {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let refusal = "the token's roles do not allow reading webhooks";
        let user = user(request, |access| access.roles.can_read(), refusal);
        ready(user.map(|user| Self { user }))
    }
}

impl FromRequest for Writer {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let refusal = "the token's roles do not allow changing webhooks";
        let user = user(request, |access| access.roles.can_write(), refusal);
        ready(user.map(|user| Self { user }))
    }
}

impl FromRequest for Service {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let service = authenticate(request).and_then(|(access, _)| {
            let refusal =
                ApiError::Forbidden("publishing events needs a token of the role service");
            if access.roles.is_service() { Ok(Self) } else { Err(refusal) }
        });
        ready(service)
    }
}
