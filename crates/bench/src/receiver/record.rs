//! What is kept of requests, within bounds.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use hyper::HeaderMap;
use sha2::{Digest, Sha256};

use super::ReceiverOptions;

/// How much is kept of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    Bodies,
    /// All but the body, whose SHA-256 is kept.
    Hashes,
    /// Nothing: requests are counted (and seen by the observer).
    Counts,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When its head arrived.
    pub at: Instant,
    /// The same by the machine's clock, in microseconds since 1970.
    pub unix_us: u64,
    /// The method.
    pub method: hyper::Method,
    /// The path, without the query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body; `None` when it was not kept.
    pub body: Option<Bytes>,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
    /// The status it was answered with; `None` when no proper answer was given.
    pub answered: Option<u16>,
}

impl Recorded {
    /// A header's value, where it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text; empty when it was not kept.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_deref().unwrap_or_default()).into_owned()
    }
}

/// The requests so far.
pub(super) struct Records {
    keep: Keep,
    max_requests: usize,
    body_bytes_left: usize,
    max_body_bytes: usize,
    all: Vec<Recorded>,
    by_path: HashMap<String, usize>,
    dropped: usize,
}

impl Records {
    pub(super) fn new(options: &ReceiverOptions) -> Self {
        Self {
            keep: options.keep,
            max_requests: options.max_requests,
            body_bytes_left: options.max_body_bytes,
            max_body_bytes: options.max_body_bytes,
            all: Vec::new(),
            by_path: HashMap::new(),
            dropped: 0,
        }
    }

    /// Keeps a request whose `body` is set, as far as there is room.
    pub(super) fn push(&mut self, mut request: Recorded) {
        if self.all.len() >= self.max_requests {
            self.dropped += 1;
            return;
        }
        let length = request.body.as_ref().map_or(0, Bytes::len);
        if self.keep == Keep::Bodies && length <= self.body_bytes_left {
            self.body_bytes_left -= length;
        } else {
            request.body = None;
        }
        *self.by_path.entry(request.path.clone()).or_default() += 1;
        self.all.push(request);
    }

    pub(super) fn all(&self) -> &[Recorded] {
        &self.all
    }

    pub(super) fn count_to(&self, path: &str) -> usize {
        self.by_path.get(path).copied().unwrap_or(0)
    }

    pub(super) fn dropped(&self) -> usize {
        self.dropped
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.by_path.clear();
        self.dropped = 0;
        self.body_bytes_left = self.max_body_bytes;
    }
}

/// SHA-256 of a body.
pub(super) fn hash(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}
