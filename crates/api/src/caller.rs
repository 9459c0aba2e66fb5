//! Who is calling, and what that proves. One middleware ([`prove`]) stands before every handler
//! that is not public, and before whatever else looks at the request: it authenticates, counts
//! and authorises. A handler takes the proof as an argument, and `routes.rs` does not compile
//! where the proof is not of the right that the route asks for.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};

use access::{Access, Denied, Refused, Roles};
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
use crate::query::Query;
use crate::requests::RequestName;

/// What a caller must be allowed to do, so that a route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Nothing: the route answers everybody.
    Public,
    /// See what is the user's.
    Read,
    /// Change what is the user's.
    Write,
    /// Publish events of any user.
    Service,
    /// Do what concerns any user.
    Admin,
}

/// Who makes a request: authenticated, and allowed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Whose webhooks and logs it is about: the caller's, or, with `?user_id=`, those of whom an
    /// admin acts for.
    pub(crate) user: UserId,
    /// Whose token it is.
    pub(crate) subject: UserId,
    /// Whether an admin said by `?user_id=` whom it is made for.
    pub(crate) for_another: bool,
    /// The token's id (`jti`), where it has one.
    pub(crate) token_id: Option<String>,
    /// The token's roles.
    pub(crate) roles: Roles,
    /// Where it comes from, as far as that can be believed.
    pub(crate) address: IpAddr,
    /// The request's id.
    pub(crate) request_id: String,
}

/// Proof that the caller may see what is the user's.
pub(crate) struct Reader(pub(crate) Caller);

/// Proof that the caller may change what is the user's.
pub(crate) struct Writer(pub(crate) Caller);

/// Proof that the caller may publish events of any user.
pub(crate) struct Service(pub(crate) Caller);

/// Proof that the caller may do what concerns any user.
pub(crate) struct Admin(pub(crate) Caller);

/// What a public route asks for.
pub(crate) struct Anybody;

/// A proof, by the right that it proves.
pub(crate) trait Proof {
    /// The right.
    const RIGHT: Right;
}

/// The arguments of a handler, of which `P` is the proof: the only one, or the one behind the
/// API.
pub(crate) trait Prove<P> {}

impl<P: Proof> Prove<P> for (P,) {}
impl<P: Proof> Prove<P> for (Data<Api>, P) {}
impl<P: Proof, A> Prove<P> for (Data<Api>, P, A) {}
impl<P: Proof, A, B> Prove<P> for (Data<Api>, P, A, B) {}
impl<P: Proof, A, B, C> Prove<P> for (Data<Api>, P, A, B, C) {}
impl<P: Proof, A, B, C, D> Prove<P> for (Data<Api>, P, A, B, C, D) {}

// Nothing of the request but its path: there is no proof to be had.
impl Prove<Anybody> for () {}
impl Prove<Anybody> for (Data<Api>,) {}

/// What [`prove`] leaves for the extractor, and for whatever stands between.
pub(crate) struct Proven(Caller, Right);

impl Proven {
    /// Who it was proven of.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.0
    }
}

pub(crate) fn unmounted() -> ApiError {
    ApiError::internal("the routes were mounted without the API")
}

/// Middleware: lets a request through to whatever stands behind when its caller has `right`.
/// Nothing of the request was looked at before but its head.
pub(crate) async fn prove(
    right: Right,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match caller(right, request.request()).await {
        Ok(caller) => {
            request.extensions_mut().insert(Proven(caller, right));
            next.call(request).await
        }
        Err(error) => Ok(request.error_response(error)),
    }
}

async fn caller(right: Right, request: &HttpRequest) -> Result<Caller, ApiError> {
    let api = request.app_data::<Data<Api>>().ok_or_else(unmounted)?;
    let access = authenticate(request, api).await?;
    let allowed = right.is_of(access.roles);
    // Publishing, and what admins do to users, is not counted.
    if matches!(right, Right::Read | Right::Write) || !allowed {
        count(request, &access, api)?;
    }
    if !allowed {
        return Err(ApiError::Forbidden(right.refusal()));
    }
    let acts_for = match right {
        Right::Read | Right::Write => Query::user(request)?,
        Right::Public | Right::Service | Right::Admin => None,
    };
    if acts_for.is_some() && !access.roles.is_admin() {
        return Err(ApiError::Forbidden("acting for another user needs the role admin"));
    }
    Ok(Caller {
        for_another: acts_for.is_some(),
        user: acts_for.unwrap_or_else(|| access.user.clone()),
        subject: access.user,
        token_id: access.token_id,
        roles: access.roles,
        address: address(request, api),
        request_id: request.extensions().get::<RequestName>().map_or_else(String::new, name),
    })
}

fn name(request: &RequestName) -> String {
    request.0.clone()
}

impl Right {
    /// Whether these roles give it.
    fn is_of(self, roles: Roles) -> bool {
        match self {
            Self::Public => true,
            Self::Read => roles.can_read(),
            Self::Write => roles.can_write(),
            Self::Service => roles.is_service(),
            Self::Admin => roles.is_admin(),
        }
    }

    /// What is answered to a token without it.
    const fn refusal(self) -> &'static str {
        match self {
            Self::Public | Self::Read => "the token's roles do not allow reading webhooks",
            Self::Write => "the token's roles do not allow changing webhooks",
            Self::Service => "publishing events needs a token of the role service",
            Self::Admin => "this needs a token of the role admin",
        }
    }
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

/// Whose token it is. One that names a key that we do not know yet waits for it.
async fn authenticate(request: &HttpRequest, api: &Api) -> Result<Access, ApiError> {
    let token = token(request).ok_or(ApiError::Unauthorized(
        "send an access token in one header: Authorization: Bearer <access_token>",
    ))?;
    let admitted = api.verifier.admit(token, address(request, api), OffsetDateTime::now_utc());
    admitted.await.map_err(|refused| match refused {
        Refused::Token(Denied::Expired(_)) => {
            ApiError::Unauthorized("the access token has expired")
        }
        // One that was signed out was not guessed, and is not counted as if it were.
        Refused::Token(Denied::Invalid | Denied::SignedOut(_)) => {
            ApiError::Unauthorized("the access token is not valid")
        }
        Refused::Token(Denied::NotYet) => ApiError::Unavailable("the list of who was signed out"),
        Refused::TooMany(seconds) => ApiError::TooManyRequests(seconds),
    })
}

/// Where a request comes from, as far as that can be believed.
fn address(request: &HttpRequest, api: &Api) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let lines = request.headers().get_all("x-forwarded-for");
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    api.config.trusted_proxies.client(peer, lines.into_iter())
}

/// Counts the request against the limit of the one who makes it.
fn count(request: &HttpRequest, access: &Access, api: &Api) -> Result<(), ApiError> {
    let Some(remaining) = api.limits.count(&access.user) else {
        return Ok(());
    };
    request.extensions_mut().insert(remaining);
    remaining.check()
}

/// Lets handlers take proofs that [`prove`] left, each once.
macro_rules! proofs {
    ($($proof:ident proves $right:ident)*) => {$(
        impl Proof for $proof {
            const RIGHT: Right = Right::$right;
        }

        impl FromRequest for $proof {
            type Error = ApiError;
            type Future = Ready<Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let found = request.extensions_mut().remove::<Proven>();
                ready(match found {
                    Some(Proven(caller, Right::$right)) => Ok(Self(caller)),
                    _ => Err(ApiError::internal("a handler was mounted without its right")),
                })
            }
        }
    )*};
}

proofs! {
    Reader proves Read
    Writer proves Write
    Service proves Service
    Admin proves Admin
}
