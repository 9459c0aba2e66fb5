//! A client that speaks bytes: it can do what no well-behaved client does.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::studio::{PATIENCE, token};

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// An upgraded connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    /// Pings that were passed over.
    pub(crate) pings: usize,
}

/// A masked frame.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0xAB, 0x00, 0xFE];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

impl Raw {
    /// Connects as `user` and reads `connected`.
    pub(crate) async fn upgraded(address: SocketAddr, user: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        Self::upgraded_on(socket, address, user).await
    }

    /// The same with a receive buffer as small as the kernel allows.
    pub(crate) async fn with_small_buffer(address: SocketAddr, user: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1_024).unwrap();
        Self::upgraded_on(socket, address, user).await
    }

    async fn upgraded_on(socket: TcpSocket, address: SocketAddr, user: &str) -> Self {
        let mut stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let token = token(user);
        let request = format!(
            "GET /v1/ws?token={token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Self { stream, buffer: Vec::new(), pings: 0 };
        let head = loop {
            if let Some(at) = raw.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(raw.more().await, "the upgrade is answered");
        };
        assert!(raw.buffer.starts_with(b"HTTP/1.1 101"));
        raw.buffer.drain(..head);
        let connected = raw.frame().await.unwrap();
        assert!(connected.payload.starts_with(br#"{"type":"connected""#));
        raw
    }

    /// Sends bytes; whether they could be sent.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    pub(crate) async fn say(&mut self, text: &str) {
        assert!(self.send(&masked(0x81, text.as_bytes())).await);
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.buffer);
        let read = tokio::time::timeout(PATIENCE, reading).await.expect("more bytes in time");
        matches!(read, Ok(read) if read > 0)
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, size)) = parse(&self.buffer) {
                self.buffer.drain(..size);
                if frame.first == 0x89 {
                    self.pings += 1;
                    continue;
                }
                return Some(frame);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The code of the close; what comes before is passed over. `None` when it was cut off.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            let frame = self.frame().await?;
            if frame.first == 0x88 {
                let code = frame.payload.first_chunk::<2>();
                return Some(code.map_or(1_005, |code| u16::from_be_bytes(*code)));
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let &[first, second, ..] = bytes else { return None };
    let (length, head) = match second {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    Some((Frame { first, payload }, head + length))
}
