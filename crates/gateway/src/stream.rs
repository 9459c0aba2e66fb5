//! `GET /v1/events/stream`: the same events as Server-Sent Events, for those who cannot use
//! WebSockets.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use crate::conversation::Wish;
use crate::credentials::{header, query};
use crate::entry::Form;
use crate::session::Session;
use crate::upgrade::{Refusal, address, admit};
use crate::worker::Worker;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Keeps nginx from holding events back.
const NO_BUFFERING: (&str, &str) = ("x-accel-buffering", "no");

/// Opens a stream of the events of `project_id`, which may be named several times; all of the
/// user's without it. `events` narrows the types, separated by commas. `Last-Event-ID` resumes.
pub(crate) async fn stream(request: HttpRequest, worker: Rc<Worker>) -> HttpResponse {
    let access = match admit(&request, &worker).await {
        Ok(Ok(access)) => access,
        Ok(Err(goodbye)) => return Refusal::of_goodbye(goodbye).answer(&worker),
        Err(refusal) => return refusal.answer(&worker),
    };
    let session = match worker.enter(&access, address(&request, &worker), Form::Stream) {
        Ok(session) => session,
        Err(full) => return Refusal::of(full).answer(&worker),
    };
    // From here on the body's end is the connection's.
    let body = StreamBody { worker, session };
    if let Err(refused) = body.subscribe(&request) {
        return refused.answer(&body.worker);
    }
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(NO_BUFFERING)
        .body(body)
}

/// An open stream.
struct StreamBody {
    worker: Rc<Worker>,
    session: Rc<Session>,
}

impl StreamBody {
    fn subscribe(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let mut projects = query(request, "project_id");
        if projects.is_empty() {
            projects.push("*".to_owned());
        }
        let events: Vec<String> = query(request, "events")
            .iter()
            .flat_map(|list| list.split(','))
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        // Browsers send the header when they come back; `last_event_id` is for those who begin
        // with an event that they know.
        let since = header(request, LAST_EVENT_ID).map(str::to_owned);
        let since = since.or_else(|| query(request, "last_event_id").into_iter().next());
        let wish = Wish {
            projects: &projects,
            events: (!events.is_empty()).then_some(events.as_slice()),
            since: since.as_deref().filter(|id| !id.is_empty()),
        };
        let subscribed = self.worker.subscribe(&self.session, &wish, None);
        subscribed.map_err(|refused| Refusal::of_subscription(refused.code, refused.message))
    }
}

impl MessageBody for StreamBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.session.poll(cx).map(|piece| piece.map(Ok))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.worker.leave(&self.session);
    }
}
