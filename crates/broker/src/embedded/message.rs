//! A message as it is kept: in memory shared by all who hold it, in the file as two columns.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use domain::{Event, EventType, Origin, Rejection};

use crate::message::read_event;
use crate::{Acker, ContentType, Incoming, Outgoing};

/// What was published. Cloning shares it.
pub(super) type Shared = Arc<Message>;

#[derive(Debug)]
pub(super) struct Message {
    /// The type with which it came to `studio.events`; `None` for what goes straight to a queue.
    pub(super) kind: Option<EventType>,
    pub(super) content_type: ContentType,
    pub(super) message_id: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// The event in it, where it was read when it was published.
    event: Option<Event>,
}

/// Content type, message id and headers, as JSON.
type Head<'a> = (u8, Option<&'a str>, &'a [(String, String)]);
type OwnedHead = (u8, Option<String>, Vec<(String, String)>);

impl Message {
    pub(super) fn new(kind: Option<EventType>, outgoing: Outgoing) -> Self {
        let Outgoing { content_type, message_id, headers, body, event } = outgoing;
        let mut message = Self { kind, content_type, message_id, headers, body, event };
        if kind.is_some() && message.event.as_ref().map(|event| event.kind) != kind {
            // Whoever takes it finds out what is wrong with one that is none.
            message.event = message.read_event().ok();
        }
        message
    }

    /// Everything but the body, for its column.
    pub(super) fn head(&self) -> String {
        let content_type = match self.content_type {
            ContentType::Json => 0,
            ContentType::Protobuf => 1,
            ContentType::Other => 2,
        };
        let head: Head<'_> = (content_type, self.message_id.as_deref(), &self.headers);
        serde_json::to_string(&head).expect("texts and numbers are JSON")
    }

    /// From its columns. What cannot be read is damage that SQLite did not see.
    pub(super) fn read(kind: Option<&str>, head: &str, body: Vec<u8>) -> Result<Self, String> {
        let (content_type, message_id, headers): OwnedHead =
            serde_json::from_str(head).map_err(|e| format!("a message's head is damaged: {e}"))?;
        let content_type = match content_type {
            0 => ContentType::Json,
            1 => ContentType::Protobuf,
            _ => ContentType::Other,
        };
        let kind = kind.and_then(|name| EventType::from_str(name).ok());
        Ok(Self { kind, content_type, message_id, headers, body: body.into(), event: None })
    }

    /// What a message just published to `studio.events` tells, if it is an event.
    pub(super) fn told(&self) -> Option<Event> {
        self.kind.and(self.event.clone())
    }

    /// The event in the body, as every reader of `studio.events` sees it.
    pub(super) fn read_event(&self) -> Result<Event, Rejection> {
        let trace = self.headers.iter().find(|(name, _)| name == "traceparent");
        let origin = Origin {
            message_id: self.message_id.clone(),
            timestamp: None,
            routing_key: self.kind.map(|kind| kind.as_str().to_owned()),
            traceparent: trace.map(|(_, text)| text.clone()),
        };
        read_event(self.content_type, &self.body, &origin)
    }

    /// What it weighs in the file, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, text)| name.len() + text.len()).sum();
        self.body.len() + headers + self.message_id.as_ref().map_or(0, String::len) + 64
    }

    /// What it weighs in memory, in bytes.
    pub(super) fn bytes_in_memory(&self) -> usize {
        self.bytes() + self.event.as_ref().map_or(0, |event| event.payload.len())
    }

    /// The message for its taker.
    pub(super) fn incoming(&self, redelivered: bool, returns: u32, acker: Acker) -> Incoming {
        Incoming {
            content_type: self.content_type,
            message_id: self.message_id.clone(),
            timestamp: None,
            routing_key: self.kind.map(|kind| kind.as_str().to_owned()),
            headers: self.headers.clone(),
            body: self.body.clone(),
            redelivered,
            returns,
            acker,
            known: self.event.clone(),
        }
    }
}
