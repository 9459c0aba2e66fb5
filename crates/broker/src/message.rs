//! What travels: messages out, messages in, and how those are settled.

use bytes::Bytes;
use domain::{DeliveryTask, Event, MAX_EVENT_BYTES, Origin, Rejection, UserId, WebhookId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::PublishError;

/// What a body may have beyond its event: the owner of a delivery task.
const ENVELOPE: usize = 4 * 1024;

/// Bytes of a short text of AMQP, at most.
const SHORT: usize = 255;

/// Bytes of all headers of a message, at most: they travel in one frame.
const HEADERS: usize = 64 * 1024;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`, also when a publisher says nothing.
    Json,
    /// `application/x-protobuf`
    Protobuf,
    /// Anything else: rejected by those who read it.
    Other,
}

impl ContentType {
    /// The type of this text; parameters (`; charset=utf-8`) do not count.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "application/json" => Self::Json,
            "application/x-protobuf" | "application/protobuf" => Self::Protobuf,
            _ => Self::Other,
        }
    }

    /// The text of the property.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
            Self::Other => "application/octet-stream",
        }
    }
}

/// A message to publish. Always persistent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// How the body is written.
    pub content_type: ContentType,
    /// The AMQP property `message_id`.
    pub message_id: Option<String>,
    /// Text headers, such as `traceparent` or those of a delivery.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The event in the body, where the sender has it: in one process nobody reads it again.
    pub event: Option<Event>,
}

impl Outgoing {
    /// A JSON message without headers.
    #[must_use]
    pub fn json(body: Bytes) -> Self {
        let content_type = ContentType::Json;
        Self { content_type, message_id: None, headers: Vec::new(), body, event: None }
    }

    /// The message of an event, as `docs/publishers.md` describes it.
    #[must_use]
    pub fn event(event: &Event) -> Self {
        let trace = event.traceparent.as_ref().map(|text| ("traceparent", text.to_string()));
        Self::carrying(event).with_headers(trace)
    }

    /// The message of a delivery task.
    #[must_use]
    pub fn task(task: &DeliveryTask) -> Self {
        Self::carrying(&task.event).with_headers(task.headers())
    }

    fn carrying(event: &Event) -> Self {
        Self {
            message_id: Some(event.id.to_string()),
            event: Some(event.clone()),
            ..Self::json(event.to_message())
        }
    }

    /// What every broker refuses, before it is sent: AMQP ends the connection over some of it.
    pub(crate) fn check(&self) -> Result<(), PublishError> {
        let size = self.body.len();
        if size > MAX_EVENT_BYTES + ENVELOPE {
            return Err(PublishError::TooLarge(size));
        }
        let names = self.headers.iter().map(|(name, _)| name).chain(&self.message_id);
        let headers: usize = self.headers.iter().map(|(name, text)| name.len() + text.len()).sum();
        if names.into_iter().any(|text| text.len() > SHORT) || headers > HEADERS {
            let reason = "the message id or a header's name is over 255 bytes, or all headers \
                          together are over 64 KiB";
            return Err(PublishError::Refused(reason.to_owned()));
        }
        Ok(())
    }

    /// The same with these headers added.
    #[must_use]
    pub fn with_headers<K: Into<String>>(
        mut self,
        headers: impl IntoIterator<Item = (K, String)>,
    ) -> Self {
        self.headers.extend(headers.into_iter().map(|(name, text)| (name.into(), text)));
        self
    }
}

/// A message that was taken from a queue and is not settled yet.
#[derive(Debug)]
pub struct Incoming {
    /// How the body is written.
    pub content_type: ContentType,
    /// The AMQP property `message_id`.
    pub message_id: Option<String>,
    /// The AMQP property `timestamp`, unix seconds.
    pub timestamp: Option<i64>,
    /// The routing key; `None` where it says nothing (messages sent straight to a queue).
    pub routing_key: Option<String>,
    /// Headers that are text; others are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Whether it may have been taken before.
    pub redelivered: bool,
    /// How often it came back before (`x-delivery-count`), as far as the broker counts.
    pub returns: u32,
    /// Settles it.
    pub acker: Acker,
    /// The event in the body, where it was read before.
    pub(crate) known: Option<Event>,
}

impl Incoming {
    /// The text header `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// The headers that were published; `x-` headers belong to the broker, and change.
    pub fn own_headers(&self) -> impl Iterator<Item = &(String, String)> {
        self.headers.iter().filter(|(name, _)| !name.starts_with("x-"))
    }

    /// A hash (SHA-256) of what was published: the same however often the message is taken.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(self.message_id.as_deref().unwrap_or_default().as_bytes());
        let mut headers: Vec<_> = self.own_headers().collect();
        headers.sort();
        for (name, text) in headers {
            part(name.as_bytes());
            part(text.as_bytes());
        }
        part(&self.body);
        hash.finalize().into()
    }

    /// The event in the body.
    ///
    /// # Errors
    /// [`Rejection`] when it is none.
    pub fn event(&self) -> Result<Event, Rejection> {
        if let Some(event) = &self.known {
            return Ok(event.clone());
        }
        let origin = Origin {
            message_id: self.message_id.clone(),
            timestamp: self.timestamp,
            routing_key: self.routing_key.clone(),
            traceparent: self.header("traceparent").map(str::to_owned),
        };
        read_event(self.content_type, &self.body, &origin)
    }
}

pub(crate) fn read_event(
    content_type: ContentType,
    body: &[u8],
    origin: &Origin,
) -> Result<Event, Rejection> {
    match content_type {
        ContentType::Json => Event::from_json(body, origin),
        ContentType::Protobuf => Event::from_protobuf(body, origin),
        ContentType::Other => Err(Rejection::new(
            "wrong_content_type",
            "the content type must be application/json or application/x-protobuf",
        )),
    }
}

/// Settles one message. Dropped without [`Acker::ack`], it hands the message back, so that
/// work cut short is never lost.
#[derive(Debug)]
pub struct Acker {
    pub(crate) tag: u64,
    pub(crate) settle: Option<tokio::sync::mpsc::UnboundedSender<Settled>>,
}

/// What became of the message with this tag. The channel is bounded by the prefetch: a tag is
/// settled once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Done(u64),
    HandedBack(u64),
}

impl Acker {
    /// The work is done: the broker forgets the message. After a lost connection this does
    /// nothing, and the message comes again.
    pub fn ack(mut self) {
        if let Some(settle) = self.settle.take() {
            // The consumer is gone only when the broker closed: the message comes again.
            settle.send(Settled::Done(self.tag)).ok();
        }
    }
}

impl Drop for Acker {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle.send(Settled::HandedBack(self.tag)).ok();
        }
    }
}

/// What became of a webhook's backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacklogChange {
    /// There was none, and there is one now.
    Begun,
    /// More deliveries wait in it.
    Grew,
    /// Nothing waits any more.
    Ended,
}

/// A backlog that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacklogNews {
    /// Whose backlog.
    pub webhook_id: String,
    /// The part of it; 0 where it has one only.
    pub partition: i64,
    /// What became of it.
    pub change: BacklogChange,
}

/// Something that every process should know at once, and that is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlMessage {
    /// A webhook of `user_id` was made, changed or deleted.
    WebhookChanged {
        /// Whose webhook.
        user_id: String,
        /// Which.
        webhook_id: String,
    },
    /// Backlogs have begun, have grown, or have ended, in this order.
    Backlogs {
        /// Which, and what became of each.
        changes: Vec<BacklogNews>,
    },
    /// A dispatcher that stops has given back the backlogs that it drained.
    BacklogsReleased,
    /// Connections of `user_id` must be closed.
    SignedOut {
        /// Whose.
        user_id: String,
        /// Only those of this token (`jti`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_id: Option<String>,
        /// When, by the store's clock (microseconds since 1970); earlier releases do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<i64>,
    },
    /// Somebody without a store asks those who have one who was signed out.
    SignOutsWanted {
        /// Names the question.
        question: String,
        /// Only those since then (microseconds since 1970); all that count when it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<i64>,
    },
    /// A part of the answer to such a question.
    SignOuts {
        /// The question.
        question: String,
        /// Names the answer: two may answer at once.
        answer: String,
        /// The number of this part, from 0.
        part: u32,
        /// How many parts the answer has; at least 1.
        parts: u32,
        /// Who was signed out.
        sign_outs: Vec<SignedOut>,
        /// From before when the tokens of all users are refused, if there is such a time
        /// (microseconds since 1970).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        everybody: Option<i64>,
    },
}

/// A sign-out, in the answer to who was signed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOut {
    /// Whose tokens.
    pub user_id: String,
    /// Only this one (`jti`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// When, by the store's clock (microseconds since 1970).
    pub at: i64,
}

impl ControlMessage {
    /// A webhook was made, changed or deleted.
    #[must_use]
    pub fn webhook_changed(user: &UserId, webhook: WebhookId) -> Self {
        Self::WebhookChanged { user_id: user.to_string(), webhook_id: webhook.to_string() }
    }
}

/// What a [`crate::ControlReader`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlSignal {
    /// Somebody announced this.
    Message(ControlMessage),
    /// Announcements may have been missed: forget everything that they would have changed.
    Gap,
}

/// What a [`crate::HistoryReader`] yields.
#[derive(Clone, Debug)]
pub enum HistoryEntry {
    /// An event, once or more often, in the order of the history.
    Event(Event),
    /// Everything that was there when reading began has been read.
    CaughtUp,
}
