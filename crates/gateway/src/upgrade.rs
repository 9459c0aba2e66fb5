//! `GET /v1/ws`: who is let in.

use std::sync::atomic::{AtomicU64, Ordering};

use access::{Access, Denied};
use actix_web::http::header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use actix_ws::{CloseCode, CloseReason};
use serde_json::json;
use time::OffsetDateTime;

use crate::Gateway;
use crate::hub::Connection;
use crate::protocol::close;
use crate::session::Life;

/// The subprotocol that carries a token: `Sec-WebSocket-Protocol: bearer, TOKEN`.
const BEARER: &str = "bearer";

/// Numbers connections within the process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Upgrades to a WebSocket. A wrong token is refused before; an expired one is let in and closed
/// with 4001, because browsers cannot see why an upgrade was refused.
pub(crate) async fn upgrade(
    request: HttpRequest,
    body: Payload,
    gateway: Data<Gateway>,
) -> actix_web::Result<HttpResponse> {
    if gateway.hub.is_draining() {
        let code = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(refuse(code, "SERVICE_UNAVAILABLE", "the server restarts; come back"));
    }
    if !origin_allowed(&request, &gateway.config.origins) {
        let message = "this page may not connect here";
        return Ok(refuse(StatusCode::FORBIDDEN, "ORIGIN_NOT_ALLOWED", message));
    }
    let (token, by_subprotocol) = token(&request);
    let verified = gateway.verifier.verify(&token, OffsetDateTime::now_utc());
    let (access, expired) = match verified {
        Ok(access) => (access, false),
        Err(Denied::Expired(access)) => (access, true),
        Err(Denied::Invalid) => {
            let message = "send a valid access token";
            return Ok(refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message));
        }
    };
    let (mut answer, session, incoming) = actix_ws::handle(&request, body)?;
    if by_subprotocol {
        // Only the word: the token must not be repeated.
        let word = actix_web::http::header::HeaderValue::from_static(BEARER);
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, word);
    }
    if expired {
        say_goodbye(session, close::TOKEN_EXPIRED, "the token has expired");
        return Ok(answer);
    }
    begin(&gateway, &access, session, incoming);
    Ok(answer)
}

fn begin(
    gateway: &Gateway,
    access: &Access,
    session: actix_ws::Session,
    incoming: actix_ws::MessageStream,
) {
    let config = &gateway.config;
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let (connection, outgoing) = Connection::new(id, access.token_id.clone(), config.queue_bytes);
    if !gateway.hub.enter(&access.user, connection.clone(), config.connections_per_user) {
        gateway.hub.metrics.closed(close::TOO_MANY_CONNECTIONS);
        return say_goodbye(session, close::TOO_MANY_CONNECTIONS, "too many connections");
    }
    let incoming = incoming
        .max_frame_size(config.message_bytes)
        .aggregate_continuations()
        .max_continuation_size(config.message_bytes * 2);
    let life = Life::new(
        gateway.hub.clone(),
        config.clone(),
        gateway.verifier.clone(),
        access,
        connection,
        session,
    );
    actix_web::rt::spawn(life.run(incoming, outgoing));
}

fn say_goodbye(session: actix_ws::Session, code: u16, reason: &str) {
    let reason = CloseReason { code: CloseCode::from(code), description: Some(reason.to_owned()) };
    actix_web::rt::spawn(session.close(Some(reason)));
}

/// The token of the query, the header, or the subprotocol; whether it was the last.
fn token(request: &HttpRequest) -> (String, bool) {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(token) = text(AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer ")) {
        return (token.to_owned(), false);
    }
    if let Some((BEARER, token)) = text(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|text| text.split_once(','))
        .map(|(word, token)| (word.trim(), token.trim()))
    {
        return (token.to_owned(), true);
    }
    let pairs = request.query_string().split('&');
    let token = pairs.filter_map(|pair| pair.strip_prefix("token=")).next();
    (token.unwrap_or_default().to_owned(), false)
}

fn origin_allowed(request: &HttpRequest, allowed: &[String]) -> bool {
    match request.headers().get(ORIGIN) {
        // Programs send none; browsers always do.
        None => true,
        Some(_) if allowed.is_empty() => true,
        Some(origin) => {
            origin.to_str().is_ok_and(|origin| allowed.iter().any(|known| known == origin))
        }
    }
}

fn refuse(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let request_id = domain::RequestId::generate();
    HttpResponse::build(status).json(json!({
        "success": false,
        "error": { "code": code, "message": message },
        "meta": { "request_id": request_id },
    }))
}
