//! `GET /v1/ws`: who is let in.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use access::{Access, Denied, Refused};
use actix_http::ws::handshake;
use actix_web::body::{BodyStream, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use time::OffsetDateTime;

use crate::conversation::RATE_LIMITED;
use crate::credentials::{self, BEARER};
use crate::entry::Form;
use crate::frame;
use crate::incoming::Incoming;
use crate::presence::Full;
use crate::protocol::Goodbye;
use crate::socket::SocketBody;
use crate::worker::Worker;

/// A connection that is refused before it is one.
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    /// After how many seconds it is worth trying again; 0 where it is not.
    retry_after: u64,
}

const STOPPING: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: "SERVICE_UNAVAILABLE",
    message: "the server starts or stops; come back",
    retry_after: 5,
};
const BUSY: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: "SERVER_FULL",
    message: "the server has too many connections; come back",
    retry_after: 5,
};
const CROWDED: Refusal = Refusal {
    status: StatusCode::TOO_MANY_REQUESTS,
    code: "TOO_MANY_CONNECTIONS",
    message: "this user has too many connections",
    retry_after: 5,
};
const ADDRESS_CROWDED: Refusal = Refusal {
    status: StatusCode::TOO_MANY_REQUESTS,
    code: "TOO_MANY_CONNECTIONS_OF_ADDRESS",
    message: "this address has too many connections",
    retry_after: 5,
};
const NO_UPGRADE: Refusal = Refusal {
    status: StatusCode::UPGRADE_REQUIRED,
    code: "UPGRADE_REQUIRED",
    message: "expected the upgrade to a WebSocket, version 13 (RFC 6455)",
    retry_after: 0,
};
const FOREIGN: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    code: "ORIGIN_NOT_ALLOWED",
    message: "this page may not connect here",
    retry_after: 0,
};
const UNKNOWN: Refusal = Refusal {
    status: StatusCode::UNAUTHORIZED,
    code: "UNAUTHORIZED",
    message: "send a valid access token",
    retry_after: 0,
};
const GUESSING: Refusal = Refusal {
    status: StatusCode::TOO_MANY_REQUESTS,
    code: "RATE_LIMITED",
    message: "this address has sent too many wrong tokens; come back later",
    retry_after: 60,
};
const FORBIDDEN: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    code: "FORBIDDEN",
    message: "this token may not read events",
    retry_after: 0,
};

/// Upgrades to a WebSocket. A wrong token is refused before; an expired one is let in and closed
/// with 4001, one that was signed out with 4503, and one connection too many with 4502, because
/// browsers cannot see why an upgrade was refused.
pub(crate) async fn upgrade(
    request: HttpRequest,
    payload: Payload,
    worker: Rc<Worker>,
) -> actix_web::Result<HttpResponse> {
    let admitted = match admit(&request, &worker).await {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(refusal.answer(&worker)),
    };
    let Ok(mut answer) = handshake(request.head()) else {
        return Ok(NO_UPGRADE.answer(&worker));
    };
    if credentials::offers_bearer(&request) {
        answer.insert_header((SEC_WEBSOCKET_PROTOCOL, BEARER));
    }
    let entered =
        admitted.map(|access| worker.enter(&access, address(&request, &worker), Form::Socket));
    let body = match entered {
        Ok(Ok(session)) => {
            let incoming = Incoming::new(payload, worker.config.message_bytes);
            SocketBody::new(worker, session, incoming).boxed()
        }
        Ok(Err(Full::User)) => part(Goodbye::TOO_MANY_CONNECTIONS, &worker),
        Ok(Err(full)) => return Ok(Refusal::of(full).answer(&worker)),
        Err(goodbye) => part(goodbye, &worker),
    };
    Ok(answer.message_body(body)?.into())
}

/// Who asks to be let in. The inner `Err` is somebody who has a right token that is good no
/// longer.
pub(crate) async fn admit(
    request: &HttpRequest,
    worker: &Worker,
) -> Result<Result<Access, Goodbye>, Refusal> {
    if worker.hub.is_draining() || !worker.hub.is_following() {
        return Err(STOPPING);
    }
    if !credentials::origin_allowed(request, &worker.config.origins) {
        return Err(FOREIGN);
    }
    let (token, now) = (credentials::token(request), OffsetDateTime::now_utc());
    match worker.verifier.admit(&token, address(request, worker), now).await {
        Ok(access) if !access.roles.can_read() => Err(FORBIDDEN),
        Ok(access) => Ok(Ok(access)),
        Err(Refused::Token(Denied::Expired(_))) => Ok(Err(Goodbye::TOKEN_EXPIRED)),
        Err(Refused::Token(Denied::SignedOut(_))) => Ok(Err(Goodbye::SIGNED_OUT)),
        Err(Refused::Token(Denied::NotYet)) => Err(STOPPING),
        Err(Refused::Token(Denied::Invalid)) => Err(UNKNOWN),
        Err(Refused::TooMany(retry_after)) => Err(Refusal { retry_after, ..GUESSING }),
    }
}

/// Where a connection comes from: an address, or the /64 of an IPv6 one.
pub(crate) fn address(request: &HttpRequest, worker: &Worker) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let lines = request.headers().get_all("x-forwarded-for");
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let client = worker.config.trusted_proxies.client(peer, lines.into_iter());
    access::network_of(client)
}

/// The body of an upgraded connection that is told nothing but `goodbye`.
fn part(goodbye: Goodbye, worker: &Worker) -> BoxBody {
    worker.hub.metrics.closed(goodbye.code);
    let close = Ok::<Bytes, std::convert::Infallible>(frame::close(goodbye.code, goodbye.reason));
    BodyStream::new(stream::iter([close])).boxed()
}

impl Refusal {
    /// The refusal of somebody who would be told `goodbye`, where that can be seen.
    pub(crate) fn of_goodbye(goodbye: Goodbye) -> Self {
        let code = if goodbye == Goodbye::SIGNED_OUT { "SIGNED_OUT" } else { UNKNOWN.code };
        Self { status: StatusCode::UNAUTHORIZED, code, message: goodbye.reason, retry_after: 0 }
    }

    pub(crate) fn of(full: Full) -> Self {
        match full {
            Full::Process => BUSY,
            Full::Address => ADDRESS_CROWDED,
            Full::User => CROWDED,
        }
    }

    /// The refusal of a request whose subscription is refused: it names what does not exist, or
    /// comes too often.
    pub(crate) fn of_subscription(code: &'static str, message: &'static str) -> Self {
        let too_often = code == RATE_LIMITED;
        let status =
            if too_often { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::BAD_REQUEST };
        Self { status, code, message, retry_after: if too_often { 5 } else { 0 } }
    }

    /// The answer, in the form of the API's errors.
    pub(crate) fn answer(&self, worker: &Worker) -> HttpResponse {
        worker.hub.metrics.refused(self.status.as_u16());
        let mut answer = HttpResponse::build(self.status);
        if self.status == StatusCode::UPGRADE_REQUIRED {
            answer.insert_header((UPGRADE, "websocket"));
            answer.insert_header((SEC_WEBSOCKET_VERSION, "13"));
        }
        if self.retry_after > 0 {
            answer.insert_header((RETRY_AFTER, self.retry_after.to_string()));
        }
        answer.json(json!({
            "success": false,
            "error": { "code": self.code, "message": self.message },
            "meta": { "request_id": domain::RequestId::generate() },
        }))
    }
}
