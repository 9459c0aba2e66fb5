//! Requests over keep-alive connections, as many as are answered or at a steady rate, with as
//! little of a client as can be: what is measured is the server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::quantile::quantile;

/// Largest answer, bytes.
const LARGEST: usize = 1024 * 1024;

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The bytes of a `GET` with this token.
#[must_use]
pub fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads its whole answer; gives back the body.
    ///
    /// # Errors
    /// When the status is not 200, or no whole answer came.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let (from, to) = loop {
            anyhow::ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "closed");
            if let Some(found) = whole(&self.buffer)? {
                break found;
            }
            anyhow::ensure!(self.buffer.len() < LARGEST, "an answer without an end");
        };
        Ok(&self.buffer[from..to])
    }
}

/// Where the body of a whole answer is; `None` until it is whole.
fn whole(answer: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    anyhow::ensure!(
        text.starts_with("HTTP/1.1 200 "),
        "answered {}",
        text.lines().next().unwrap_or("")
    );
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.context("an answer without a length")??;
    let end = head + 4 + length;
    Ok((answer.len() >= end).then_some((head + 4, end)))
}

/// Requests a second that are answered over `connections`, each with one on its way, within
/// `length`.
///
/// # Errors
/// When an answer is none.
pub async fn saturate(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    length: Duration,
) -> anyhow::Result<f64> {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..connections {
        let request = request.to_vec();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut count = 0_u32;
            while began.elapsed() < length {
                connection.exchange(&request).await?;
                count += 1;
            }
            Ok::<_, anyhow::Error>(count)
        });
    }
    let mut total = 0.0;
    while let Some(count) = tasks.join_next().await {
        total += f64::from(count??);
    }
    Ok(total / began.elapsed().as_secs_f64())
}

/// How long answers take, in milliseconds, at `rate` requests a second for `length`: p50 and p99.
/// Each counts from the moment when it was due, so that a slow answer does not hide the next.
///
/// # Errors
/// When an answer is none.
pub async fn trickle(
    address: SocketAddr,
    requests: &[Vec<u8>],
    rate: u32,
    length: Duration,
) -> anyhow::Result<(f64, f64)> {
    let mut tasks = JoinSet::new();
    let began = Instant::now() + Duration::from_millis(100);
    // Each connection takes every n-th request.
    let lanes = 8_u32;
    let gap = Duration::from_secs(1) / rate;
    let count = rate * u32::try_from(length.as_secs())?;
    for lane in 0..lanes {
        let requests = requests.to_vec();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut took = Vec::new();
            for number in (lane..count).step_by(lanes as usize) {
                let due = began + gap * number;
                tokio::time::sleep_until(due.into()).await;
                connection.exchange(&requests[number as usize % requests.len()]).await?;
                took.push(due.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok::<_, anyhow::Error>(took)
        });
    }
    let mut all = Vec::new();
    while let Some(took) = tasks.join_next().await {
        all.extend(took??);
    }
    all.sort_by(f64::total_cmp);
    let at = |share| quantile(&all, share).unwrap_or(f64::NAN);
    Ok((at(0.5), at(0.99)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_once_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(whole(answer).unwrap(), Some((38, 40)));
        assert_eq!(whole(&answer[..39]).unwrap(), None);
        assert_eq!(whole(&answer[..20]).unwrap(), None);
        assert!(whole(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
