//! Frames as they stand on the wire (RFC 6455, section 5.2). What a server sends is not masked,
//! so a frame is the same for every client: it is encoded once and shared.

use bytes::Bytes;

const FIN_TEXT: u8 = 0x81;
const FIN_CLOSE: u8 = 0x88;
const FIN_PING: u8 = 0x89;
const FIN_PONG: u8 = 0x8A;

/// Longest payload of a control frame, bytes.
const CONTROL: usize = 125;

/// A text message in one frame.
pub(crate) fn text(payload: &[u8]) -> Bytes {
    frame(FIN_TEXT, payload)
}

/// A ping without payload.
pub(crate) fn ping() -> Bytes {
    Bytes::from_static(&[FIN_PING, 0])
}

/// The answer to a ping, with its payload.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    frame(FIN_PONG, &payload[..payload.len().min(CONTROL)])
}

/// The end of what we say: a code and words of at most 123 bytes.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    frame(FIN_CLOSE, &payload[..payload.len().min(CONTROL)])
}

/// The answer to a client's close: its code, where it gave one.
pub(crate) fn close_echo(code: Option<u16>) -> Bytes {
    code.map_or_else(|| Bytes::from_static(&[FIN_CLOSE, 0]), |code| close(code, ""))
}

fn frame(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(first);
    match payload.len() {
        short @ 0..=CONTROL => frame.push(short as u8),
        middle @ 126..=0xFFFF => {
            frame.push(126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_written_in_the_shortest_way() {
        let header = |length: usize| {
            let frame = text(&vec![b'a'; length]);
            frame[..frame.len() - length].to_vec()
        };
        assert_eq!(header(0), [0x81, 0]);
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(0xFFFF), [0x81, 126, 0xFF, 0xFF]);
        assert_eq!(header(0x1_0000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_has_its_code_and_never_more_than_a_control_frame_may() {
        assert_eq!(close(4002, "slow"), &[0x88, 6, 0x0F, 0xA2, b's', b'l', b'o', b'w'][..]);
        assert_eq!(close(1000, &"a".repeat(200))[1], 125);
        assert_eq!(close_echo(None), &[0x88, 0][..]);
        assert_eq!(pong(&[7; 300])[1], 125);
    }
}
