//! The body of an upgraded connection: reads what the client says and gives out what waits for
//! it. Both happen in the task that actix-http has for the connection anyway, so that a
//! connection needs no task, channel or timer of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_ws::AggregatedMessageStream;
use bytes::Bytes;
use futures::StreamExt;

use crate::conversation::fault;
use crate::session::Session;
use crate::worker::Worker;

/// A WebSocket.
pub(crate) struct SocketBody {
    worker: Rc<Worker>,
    session: Rc<Session>,
    /// `None` once nothing more is to be heard.
    incoming: Option<AggregatedMessageStream>,
    /// actix-ws's own body. Nothing goes through it, but `incoming` ends when it is dropped.
    _handshake: BoxBody,
}

impl SocketBody {
    pub(crate) fn new(
        worker: Rc<Worker>,
        session: Rc<Session>,
        incoming: AggregatedMessageStream,
        handshake: BoxBody,
    ) -> Self {
        Self { worker, session, incoming: Some(incoming), _handshake: handshake }
    }

    fn listen(&mut self, cx: &mut Context<'_>) {
        while let Some(incoming) = self.incoming.as_mut().filter(|_| self.session.is_open()) {
            match incoming.poll_next_unpin(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(message))) => self.worker.hear(&self.session, message),
                Poll::Ready(Some(Err(error))) => {
                    self.incoming = None;
                    match fault(&error) {
                        Some(goodbye) => self.session.close(goodbye),
                        None => self.session.end(),
                    }
                }
                Poll::Ready(None) => {
                    self.incoming = None;
                    self.session.end();
                }
            }
        }
    }
}

impl MessageBody for SocketBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        this.listen(cx);
        this.session.poll(cx).map(|piece| piece.map(Ok))
    }
}

impl Drop for SocketBody {
    fn drop(&mut self) {
        self.worker.leave(&self.session);
    }
}
