//! A fast HTTP receiver that notes when each event arrived.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::event::unix_micros;

#[derive(Debug, Default)]
struct Noted {
    first: Option<Instant>,
    last: Option<Instant>,
    /// Microseconds from publish to arrival.
    latencies: Vec<u64>,
}

impl Noted {
    fn add(&mut self, at: Instant, latency: u64) {
        self.first.get_or_insert(at);
        self.last = Some(at);
        self.latencies.push(latency);
    }
}

/// A receiver on a free port of 127.0.0.1; it lives as long as its process.
#[derive(Clone, Debug)]
pub struct Arrivals {
    address: SocketAddr,
    /// How long an answer takes.
    delay: Duration,
    noted: Arc<Mutex<Noted>>,
}

/// What arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How many requests.
    pub count: usize,
    /// The first arrival.
    pub first: Instant,
    /// The last arrival.
    pub last: Instant,
    /// Microseconds from publish to arrival, sorted.
    pub latencies: Vec<u64>,
}

impl Seen {
    /// The latency that `share` (0 to 1) of the events did not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, share: f64) -> f64 {
        if self.latencies.is_empty() {
            return f64::NAN;
        }
        let index = ((self.latencies.len() - 1) as f64 * share).round() as usize;
        self.latencies[index] as f64 / 1_000.0
    }
}

impl Arrivals {
    /// Starts a receiver.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_slow(Duration::ZERO).await
    }

    /// Starts a receiver that takes so long for each answer.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start_slow(delay: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let arrivals = Self { address: listener.local_addr()?, delay, noted: Arc::default() };
        tokio::spawn(arrivals.clone().serve(listener));
        Ok(arrivals)
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let arrivals = self.clone();
            stream.set_nodelay(true).ok();
            tokio::spawn(async move {
                let service = service_fn(|request| arrivals.note(request));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // A sender that is stopped leaves its connections.
                serving.await.ok();
            });
        }
    }

    async fn note(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (at, now) = (Instant::now(), unix_micros());
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        let published = body.ok().and_then(|body| published_at(&body));
        self.lock().add(at, published.map_or(u64::MAX, |published| now.saturating_sub(published)));
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        Ok(Response::new(Full::default()))
    }

    /// Where to send.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// How many have arrived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().latencies.len()
    }

    /// Forgets what has arrived so far.
    pub fn forget(&self) {
        *self.lock() = Noted::default();
    }

    /// Waits until `count` have arrived, then forgets them and gives them back.
    ///
    /// # Errors
    /// With how many did arrive, when it takes longer than `longest`.
    pub async fn take(&self, count: usize, longest: Duration) -> anyhow::Result<Seen> {
        let began = Instant::now();
        while self.count() < count {
            anyhow::ensure!(
                began.elapsed() < longest,
                "only {} of {count} events arrived within {longest:?}",
                self.count()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let noted = std::mem::take(&mut *self.lock());
        let mut latencies = noted.latencies;
        latencies.sort_unstable();
        let now = Instant::now();
        Ok(Seen {
            count: latencies.len(),
            first: noted.first.unwrap_or(now),
            last: noted.last.unwrap_or(now),
            latencies,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The number behind `"t":` in a body: when it was published.
fn published_at(body: &[u8]) -> Option<u64> {
    number_after(body, br#""t":"#)
}

/// The number that follows the first `key` in a body, found without parsing.
pub(crate) fn number_after(body: &[u8], key: &[u8]) -> Option<u64> {
    let at = body.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = body[at..].iter().take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_publishing_is_found_in_the_body() {
        assert_eq!(published_at(br#"{"data":{"t":1234,"x":1}}"#), Some(1234));
        assert_eq!(published_at(b"{}"), None);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let now = Instant::now();
        let seen = Seen { count: 3, first: now, last: now, latencies: vec![1_000, 2_000, 9_000] };
        assert!((seen.percentile_ms(0.5) - 2.0).abs() < f64::EPSILON);
        assert!((seen.percentile_ms(1.0) - 9.0).abs() < f64::EPSILON);
    }
}
