//! A connection that speaks HTTP/1.1, driven by the attempt that uses it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};

use crate::connections::{Outgoing, Unanswered};
use crate::connector::{Connected, Stream};
use crate::failure::NoAnswer;

/// One connection; one request at a time.
pub(crate) struct Http1 {
    requests: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection<Stream, Full<Bytes>>>,
    pub(crate) address: Option<SocketAddr>,
}

impl Http1 {
    pub(crate) async fn begin(connected: Connected) -> Result<Box<Self>, NoAnswer> {
        let (requests, connection) = Builder::new()
            .title_case_headers(true)
            .handshake(connected.stream)
            .await
            .map_err(NoAnswer::Http)?;
        let (connection, address) = (Some(connection), connected.address);
        Ok(Box::new(Self { requests, connection, address }))
    }

    /// Sends `request` and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Outgoing,
    ) -> Result<Response<Incoming>, Unanswered> {
        let answer = pin!(self.requests.try_send_request(*request));
        self.drive(answer).await.map_err(|mut failed| Unanswered {
            unsent: failed.take_message().map(Box::new),
            error: NoAnswer::Http(failed.into_error()),
        })
    }

    /// Waits for `work`, which is done by this connection.
    pub(crate) async fn drive<T>(&mut self, mut work: impl Future<Output = T> + Unpin) -> T {
        poll_fn(|context| {
            self.advance(context);
            Pin::new(&mut work).poll(context)
        })
        .await
    }

    /// Whether another request can be sent: the answer before is whole and the other side has not
    /// closed.
    pub(crate) async fn is_fit(&mut self) -> bool {
        poll_fn(|context| {
            self.advance(context);
            Poll::Ready(self.is_open())
        })
        .await
    }

    /// The same, from outside of an attempt.
    pub(crate) fn looks_open(&mut self) -> bool {
        self.advance(&mut Context::from_waker(Waker::noop()));
        self.is_open()
    }

    fn is_open(&self) -> bool {
        self.connection.is_some() && self.requests.is_ready()
    }

    fn advance(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            // How it ended is told to whoever waits for an answer.
            self.connection = None;
        }
    }
}
