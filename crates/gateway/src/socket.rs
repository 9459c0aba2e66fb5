//! The body of an upgraded connection: reads what the client says and gives out what waits for
//! it. Both happen in the task that actix-http has for the connection anyway, so that a
//! connection needs no task, channel or timer of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use crate::incoming::{Deaf, Incoming};
use crate::session::Session;
use crate::worker::Worker;

/// A WebSocket.
pub(crate) struct SocketBody {
    worker: Rc<Worker>,
    session: Rc<Session>,
    incoming: Incoming,
}

impl SocketBody {
    pub(crate) fn new(worker: Rc<Worker>, session: Rc<Session>, incoming: Incoming) -> Self {
        Self { worker, session, incoming }
    }

    /// Hears what has come, as long as the connection is open.
    fn listen(&mut self, cx: &mut Context<'_>) {
        while self.session.is_open() {
            match self.incoming.poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(heard)) => self.worker.hear(&self.session, heard),
                Poll::Ready(Err(Deaf::Gone)) => self.session.end(),
                Poll::Ready(Err(Deaf::Refused(goodbye))) => self.session.close(goodbye),
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
