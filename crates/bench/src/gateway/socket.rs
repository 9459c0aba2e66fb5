//! A WebSocket that costs little: ten thousand of them share the machine with what is measured.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// Longest time that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Connections from one source address, at most: each needs a port of its own.
const PER_SOURCE: usize = 2_000;

/// Connections opened by this process.
static OPENED: AtomicUsize = AtomicUsize::new(0);

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// One connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// The beginning of a frame that is not whole yet.
    rest: Vec<u8>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Came<'a> {
    /// A text.
    Text(&'a [u8]),
    /// The server's close, with its code.
    Close(Option<u16>),
}

fn refused(what: String) -> io::Error {
    io::Error::other(what)
}

impl Socket {
    /// Connects and upgrades: `path` with its query, and more header lines, each with its end.
    /// Many connections are spread over source addresses.
    ///
    /// # Errors
    /// When the connection or the upgrade is refused, with the answer's first line.
    pub async fn connect(server: SocketAddr, path: &str, headers: &str) -> io::Result<Self> {
        let opening = Self::open(server, path, headers);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no upgrade within 30 s");
        tokio::time::timeout(HANDSHAKE, opening).await.unwrap_or_else(|_| Err(late()))
    }

    async fn open(server: SocketAddr, path: &str, headers: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Ports of connections that have just ended are not free yet: on to the next address.
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        let last = u8::try_from(2 + opened / PER_SOURCE % 200).unwrap_or(2);
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        let mut stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut read = Vec::new();
        let head = loop {
            if let Some(at) = read.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            stream.readable().await?;
            let mut bytes = [0; 2_048];
            match stream.try_read(&mut bytes) {
                Ok(0) => return Err(refused("closed before the upgrade".to_owned())),
                Ok(count) => read.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        let line = read.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if !line.starts_with(b"HTTP/1.1 101") {
            return Err(refused(String::from_utf8_lossy(line).into_owned()));
        }
        read.drain(..head);
        read.shrink_to_fit();
        Ok(Self { stream, rest: read })
    }

    /// Says a text.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn say(&mut self, text: &str) -> io::Result<()> {
        let frame = masked(TEXT, text.as_bytes());
        self.stream.write_all(&frame).await
    }

    /// Waits until something comes, and hands every text and close to `hear`, until that gives
    /// false. Pings are answered. False at the end of the connection.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn hear(&mut self, mut hear: impl FnMut(Came<'_>) -> bool) -> io::Result<bool> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            if !self.read(&rest, &mut hear) {
                return Ok(true);
            }
        }
        self.stream.readable().await?;
        // On the stack of whoever runs, not in each task: ten thousand of these are open.
        BUFFER.with_borrow_mut(|buffer| {
            let kept = self.rest.len();
            buffer[..kept].copy_from_slice(&self.rest);
            match self.stream.try_read(&mut buffer[kept..]) {
                Ok(0) => Ok(false),
                Ok(count) => {
                    self.rest.clear();
                    self.read(&buffer[..kept + count], &mut hear);
                    Ok(true)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
                Err(error) => Err(error),
            }
        })
    }

    /// Reads whole frames out of `bytes` and keeps the rest. False when `hear` wants no more.
    fn read(&mut self, mut bytes: &[u8], hear: &mut impl FnMut(Came<'_>) -> bool) -> bool {
        let mut go_on = true;
        while go_on && let Some((first, payload, size)) = frame(bytes) {
            go_on = match first {
                TEXT => hear(Came::Text(payload)),
                CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    hear(Came::Close(code))
                }
                PING => {
                    // A server whose window is full does not wait for this either.
                    self.stream.try_write(&masked(PONG, payload)).is_ok()
                }
                _ => true,
            };
            bytes = &bytes[size..];
        }
        self.rest = bytes.to_vec();
        go_on
    }
}

thread_local! {
    static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 512 * 1024]);
}

/// The first frame: its first byte, its payload, its size.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let &[first, second, ..] = bytes else { return None };
    let (length, head): (usize, usize) = match second {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    Some((first, bytes.get(head..head.checked_add(length)?)?, head + length))
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    // A mask of zeros is a mask.
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap_or(0)),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(long).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
