//! A connection that speaks HTTP/2 (RFC 9113), shared by the attempts to its host.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::HOST;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::connections::{Outgoing, Unanswered};
use crate::connector::Connected;
use crate::endpoint::Target;
use crate::failure::NoAnswer;

/// A connection on which nothing comes for this long is asked for a sign of life, …
const PING_AFTER: Duration = Duration::from_secs(10);

/// … and given up when none comes within this.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// One connection, many requests. It ends when the last clone is dropped and its requests are
/// answered.
#[derive(Clone)]
pub(crate) struct Http2 {
    requests: SendRequest<Full<Bytes>>,
    pub(crate) address: Option<SocketAddr>,
}

impl Http2 {
    pub(crate) async fn begin(connected: Connected) -> Result<Self, NoAnswer> {
        let (requests, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PONG_WITHIN)
            .keep_alive_while_idle(true)
            .handshake(connected.stream)
            .await
            .map_err(NoAnswer::Http)?;
        // How it ended is told to whoever waits for an answer.
        tokio::spawn(async { drop(connection.await) });
        Ok(Self { requests, address: connected.address })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.requests.is_ready()
    }

    /// Sends `request` and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        target: &Target,
        mut request: Outgoing,
    ) -> Result<Response<Incoming>, Unanswered> {
        *request.uri_mut() = target.uri.clone();
        // The URI has it: `:authority`.
        request.headers_mut().remove(HOST);
        self.requests.try_send_request(*request).await.map_err(|mut failed| Unanswered {
            unsent: failed.take_message().map(|mut request| {
                *request.uri_mut() = target.path.clone();
                request.headers_mut().insert(HOST, target.host.clone());
                Box::new(request)
            }),
            error: NoAnswer::Http(failed.into_error()),
        })
    }
}
