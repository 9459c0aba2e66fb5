//! An event on its way to clients: read once, encoded once, shared by all who are told.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use domain::{Event, EventId, EventType, ProjectId, UserId};

use crate::frame;

/// How a client is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// WebSocket frames.
    Socket,
    /// Server-Sent Events.
    Stream,
}

/// One event of the history.
pub(crate) struct Entry {
    /// Its place in the order of this process; the first is 1.
    pub(crate) seq: u64,
    pub(crate) id: EventId,
    pub(crate) kind: EventType,
    pub(crate) user: UserId,
    pub(crate) project: Option<ProjectId>,
    frame: Bytes,
    /// Made when the first reader of Server-Sent Events is told.
    stream: OnceLock<Bytes>,
}

impl Entry {
    /// The entry of `event`.
    pub(crate) fn new(seq: u64, event: &Event) -> Self {
        Self {
            seq,
            id: event.id.clone(),
            kind: event.kind,
            user: event.user.clone(),
            project: event.project.clone(),
            frame: frame::text(&event.payload),
            stream: OnceLock::new(),
        }
    }

    /// The bytes for a client of this form.
    pub(crate) fn bytes(&self, form: Form) -> Bytes {
        match form {
            Form::Socket => self.frame.clone(),
            Form::Stream => {
                self.stream.get_or_init(|| stream_event(&self.id, self.payload())).clone()
            }
        }
    }

    /// Bytes that a client is sent.
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    fn payload(&self) -> &[u8] {
        let header = match self.frame[1] {
            127 => 10,
            126 => 4,
            _ => 2,
        };
        &self.frame[header..]
    }
}

/// An event of the stream: `id` and `data`. A line break inside the JSON (only ever between
/// tokens) begins another `data` line, which the client joins again.
fn stream_event(id: &EventId, payload: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(payload.len() + id.as_str().len() + 16);
    text.put_slice(b"id: ");
    text.put_slice(id.as_str().as_bytes());
    text.put_slice(b"\ndata: ");
    for line in payload.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        match line.split_last() {
            Some((b'\n' | b'\r', words)) => {
                text.put_slice(words);
                text.put_slice(b"\ndata: ");
            }
            _ => text.put_slice(line),
        }
    }
    text.put_slice(b"\n\n");
    text.freeze()
}

/// Something that is said to one client: a message, or a named event of the stream.
pub(crate) fn message(form: Form, name: &str, json: &str) -> Bytes {
    match form {
        Form::Socket => frame::text(json.as_bytes()),
        Form::Stream => format!("event: {name}\ndata: {json}\n\n").into(),
    }
}

/// What keeps a connection alive.
pub(crate) fn ping(form: Form) -> Bytes {
    match form {
        Form::Socket => frame::ping(),
        Form::Stream => Bytes::from_static(b":\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Origin;

    fn entry(data: &str) -> (Event, Entry) {
        let text = format!(
            r#"{{"id":"evt_1","event":"scrape.started","timestamp":"2026-02-02T12:00:00Z","user_id":"u","data":{data}}}"#
        );
        let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
        let entry = Entry::new(1, &event);
        (event, entry)
    }

    #[test]
    fn a_frame_holds_the_very_payload_whatever_its_size() {
        for size in [0, 200, 70_000] {
            let (event, entry) = entry(&format!(r#"{{"a":"{}"}}"#, "x".repeat(size)));
            assert_eq!(entry.payload(), event.payload);
            assert!(entry.bytes(Form::Socket).ends_with(&event.payload));
        }
    }

    #[test]
    fn a_line_break_in_the_json_does_not_end_the_event_of_the_stream() {
        let (_, entry) = entry("{\"a\":\n1,\r\"b\":2}");
        let text = String::from_utf8(entry.bytes(Form::Stream).to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "id: evt_1");
        assert!(lines[1].ends_with("\"a\":") && lines[1].starts_with("data: {\"id\""));
        assert_eq!(&lines[2..], ["data: 1,", "data: \"b\":2}}", ""]);
    }
}
