//! What a client sends, frame by frame (RFC 6455, section 5): checked before it is waited for,
//! so that nobody can have us hold more than one small message.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::web::{Bytes, BytesMut, Payload};
use bytes::Buf;
use futures::Stream;

use crate::protocol::Goodbye;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Longest payload of a control frame, bytes.
const CONTROL: usize = 125;

/// A frame that was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A whole message.
    Text(String),
    /// A part of a message that goes on.
    Part,
    Ping(Bytes),
    Pong,
    /// The client's close, with its code, where it gave one.
    Close(Option<u16>),
}

/// Why nothing more can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deaf {
    /// The client is gone.
    Gone,
    /// What it sent cannot be accepted.
    Refused(Goodbye),
}

/// Reads a client's frames.
pub(crate) struct Incoming {
    payload: Payload,
    frames: Frames,
}

impl Incoming {
    /// `limit` bytes are the largest message.
    pub(crate) fn new(payload: Payload, limit: usize) -> Self {
        Self { payload, frames: Frames::new(limit) }
    }

    /// The next frame.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Deaf>> {
        loop {
            match self.frames.next() {
                Ok(Some(heard)) => return Poll::Ready(Ok(heard)),
                Ok(None) => {}
                Err(goodbye) => return Poll::Ready(Err(Deaf::Refused(goodbye))),
            }
            match Pin::new(&mut self.payload).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => self.frames.feed(&bytes),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Deaf::Gone)),
            }
        }
    }
}

/// Frames out of bytes.
struct Frames {
    limit: usize,
    /// Not read yet; empty, and of no capacity, most of the time.
    buffer: BytesMut,
    /// The parts so far of a message that goes on.
    parts: Option<Vec<u8>>,
}

/// The beginning of a frame.
struct Head {
    opcode: u8,
    last: bool,
    length: usize,
    mask: [u8; 4],
}

impl Frames {
    fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), parts: None }
    }

    fn feed(&mut self, bytes: &[u8]) {
        // Copied: a slice would keep the whole read buffer of the connection alive.
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<Heard>, Goodbye> {
        let heard = self.read()?;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Ok(heard)
    }

    fn read(&mut self) -> Result<Option<Heard>, Goodbye> {
        let Some((head, size)) = self.head()? else {
            return Ok(None);
        };
        if self.buffer.len() < size + head.length {
            return Ok(None);
        }
        self.buffer.advance(size);
        let mut payload = self.buffer.split_to(head.length);
        for (byte, key) in payload.iter_mut().zip(head.mask.iter().cycle()) {
            *byte ^= key;
        }
        match head.opcode {
            PING => Ok(Some(Heard::Ping(Bytes::copy_from_slice(&payload)))),
            PONG => Ok(Some(Heard::Pong)),
            CLOSE => close(&payload).map(|code| Some(Heard::Close(code))),
            _ => self.join(&payload, head.last).map(Some),
        }
    }

    /// The next frame's head and its size; `None` when it is not whole yet. Whatever is wrong
    /// with a frame is found here, before its payload is waited for.
    fn head(&self) -> Result<Option<(Head, usize)>, Goodbye> {
        let &[first, second, ref rest @ ..] = &self.buffer[..] else {
            // Reserved bits are known by the first byte.
            let wrong = self.buffer.first().is_some_and(|first| first & 0x70 != 0);
            return if wrong { Err(Goodbye::PROTOCOL) } else { Ok(None) };
        };
        let (last, opcode, short) = (first & 0x80 != 0, first & 0x0F, second & 0x7F);
        let masked = second & 0x80 != 0;
        self.check(first, masked)?;
        if opcode >= CLOSE && (!last || usize::from(short) > CONTROL) {
            return Err(Goodbye::PROTOCOL);
        }
        let (length, wide) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        let shortest = match wide {
            2 => length > 125,
            8 => length > 0xFFFF && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Goodbye::PROTOCOL);
        }
        let before = if opcode < CLOSE { self.parts.as_ref().map_or(0, Vec::len) } else { 0 };
        let length = usize::try_from(length).ok().filter(|length| *length <= self.limit - before);
        let length = match length {
            Some(length) => length,
            None if opcode < CLOSE => return Err(Goodbye::TOO_LARGE),
            None => usize::from(short),
        };
        let Some(mask) = rest[wide..].first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some((Head { opcode, last, length, mask: *mask }, 2 + wide + 4)))
    }

    fn check(&self, first: u8, masked: bool) -> Result<(), Goodbye> {
        let goes_on = self.parts.is_some();
        match first & 0x0F {
            // Reserved bits, or no mask: no client of ours says that.
            _ if first & 0x70 != 0 || !masked => Err(Goodbye::PROTOCOL),
            TEXT if !goes_on => Ok(()),
            BINARY if !goes_on => Err(Goodbye::BINARY),
            CONTINUATION if goes_on => Ok(()),
            CLOSE | PING | PONG => Ok(()),
            _ => Err(Goodbye::PROTOCOL),
        }
    }

    fn join(&mut self, payload: &[u8], last: bool) -> Result<Heard, Goodbye> {
        let mut message = self.parts.take().unwrap_or_default();
        message.extend_from_slice(payload);
        if !last {
            self.parts = Some(message);
            return Ok(Heard::Part);
        }
        String::from_utf8(message).map(Heard::Text).map_err(|_| Goodbye::NOT_UTF8)
    }
}

/// The code of a close, which may stand in one (section 7.4) and is followed by UTF-8.
fn close(payload: &[u8]) -> Result<Option<u16>, Goodbye> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(Goodbye::PROTOCOL),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Goodbye::PROTOCOL);
    }
    std::str::from_utf8(reason).map(|_| Some(code)).map_err(|_| Goodbye::NOT_UTF8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MASK: [u8; 4] = [7, 0, 255, 19];

    /// A masked frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(long as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Heard>, Goodbye> {
        let (mut frames, mut heard) = (Frames::new(4_096), Vec::new());
        for piece in bytes.chunks(piece) {
            frames.feed(piece);
            while let Some(next) = frames.next()? {
                heard.push(next);
            }
        }
        assert!(frames.buffer.len() < 14 + 4_096);
        Ok(heard)
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let long = "é".repeat(1_000);
        let bytes = [
            frame(0x81, b"one"),
            frame(0x01, "tw".as_bytes()),
            frame(0x89, b"in between"),
            frame(0x80, b"o"),
            frame(0x81, long.as_bytes()),
            frame(0x8A, b""),
            frame(0x88, &[0x03, 0xE8, b'b']),
        ]
        .concat();
        let expected = [
            Heard::Text("one".into()),
            Heard::Part,
            Heard::Ping(Bytes::from_static(b"in between")),
            Heard::Text("two".into()),
            Heard::Text(long),
            Heard::Pong,
            Heard::Close(Some(1_000)),
        ];
        for piece in [1, 2, 3, 7, 100, 10_000] {
            assert_eq!(read(&bytes, piece).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn a_character_may_be_cut_between_fragments() {
        let bytes = [frame(0x01, &[0xC3]), frame(0x80, &[0xA9])].concat();
        assert_eq!(read(&bytes, 64).unwrap(), [Heard::Part, Heard::Text("é".into())]);
    }

    #[test]
    fn nothing_is_waited_for_that_would_be_refused() {
        let head = |bytes: &[u8]| read(bytes, 1).unwrap_err();
        assert_eq!(head(&[0x81, 0xFE, 0x10, 0x01]), Goodbye::TOO_LARGE);
        assert_eq!(head(&[0x81, 0xFF, 0, 0, 0, 0, 0, 0x98, 0x96, 0x80]), Goodbye::TOO_LARGE);
        assert_eq!(head(&[0xC1]), Goodbye::PROTOCOL, "a reserved bit");
        assert_eq!(head(&[0x82, 0x80]), Goodbye::BINARY);
        let second = [frame(0x01, &[b'a'; 4_000]), vec![0x80, 0xE1]].concat();
        assert_eq!(head(&second), Goodbye::TOO_LARGE, "the parts together");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_in_bounded_space(
            bytes in proptest::collection::vec(any::<u8>(), 0..600), piece in 1_usize..64,
        ) {
            drop(read(&bytes, piece));
        }

        #[test]
        fn any_text_comes_out_as_it_went_in(text in "\\PC{0,300}", piece in 1_usize..64) {
            prop_assert_eq!(read(&frame(0x81, text.as_bytes()), piece).unwrap(), [Heard::Text(text)]);
        }
    }
}
