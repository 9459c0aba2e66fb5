//! What a request's head must keep to before anything is done with it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, RequestHead, ServiceRequest};
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use futures::stream::{self, Stream};

use crate::error::ApiError;

/// Largest head, bytes: names and values of all headers, and the target.
const LARGEST: usize = 32 * 1024;

/// # Errors
/// [`ApiError::HeadTooLarge`]: actix-web itself takes four times as much.
pub(crate) fn check(head: &RequestHead) -> Result<(), ApiError> {
    let headers = head.headers().iter();
    let size: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if size + target > LARGEST { Err(ApiError::HeadTooLarge(LARGEST)) } else { Ok(()) }
}

type Shared = Rc<RefCell<Payload>>;

/// A request's body in chunks, kept until the answer is sent.
pub(crate) struct Held {
    _payload: Shared,
}

/// An answer's body, and the request's.
struct Holding {
    body: BoxBody,
    _held: Held,
}

impl Held {
    /// The answer's body, with the request's kept beside it.
    pub(crate) fn beside(self, body: BoxBody) -> BoxBody {
        BoxBody::new(Holding { body, _held: self })
    }
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// Keeps a body in chunks until the answer that it is given to has been sent. actix-web reads on
/// what nobody wants any more, to use the connection again, and a body in chunks need not end;
/// one that is still there makes it close the connection instead.
pub(crate) fn hold_chunks(request: &mut ServiceRequest) -> Option<Held> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let shared: Shared = Rc::new(RefCell::new(request.take_payload()));
    let kept = shared.clone();
    let reading =
        stream::poll_fn(move |context| Pin::new(&mut *shared.borrow_mut()).poll_next(context));
    request.set_payload(Payload::Stream { payload: Box::pin(reading) });
    Some(Held { _payload: kept })
}
