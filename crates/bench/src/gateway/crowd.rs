//! Thousands of subscribers that note when each event reaches them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::event::{sent_micros, unix_micros};
use crate::gateway::socket::{Came, Socket};

/// Connections that are opened at the same time.
const AT_ONCE: usize = 64;

/// Width of a bucket of latencies, microseconds, and how many there are.
const WIDTH: u64 = 50;
const BUCKETS: usize = 200_000;

/// Who subscribes to what.
pub trait Door: Send + Sync {
    /// Where to connect.
    fn address(&self) -> SocketAddr;
    /// Path and query of subscriber `number`.
    fn path(&self, number: usize) -> String;
    /// What it says first, and how the answer that is waited for begins.
    fn first(&self, number: usize) -> Option<(String, &'static str)>;
}

/// What all subscribers have seen since it was last reset.
#[derive(Debug)]
pub struct Seen {
    count: AtomicUsize,
    last: AtomicU64,
    latencies: Vec<AtomicU32>,
    closed: AtomicUsize,
    leaving: AtomicBool,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            count: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            latencies: std::iter::repeat_with(AtomicU32::default).take(BUCKETS).collect(),
            closed: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
        }
    }
}

impl Seen {
    pub(super) fn note(&self, text: &[u8]) {
        let Some(sent) = sent_micros(text) else { return };
        let now = unix_micros();
        let bucket = usize::try_from(now.saturating_sub(sent) / WIDTH).unwrap_or(BUCKETS);
        self.latencies[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.last.fetch_max(now, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Forgets what was seen.
    pub fn reset(&self) {
        self.count.store(0, Ordering::Release);
        self.last.store(0, Ordering::Release);
        for bucket in &self.latencies {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    /// Waits until `count` were seen; when the last of them came, microseconds since 1970.
    ///
    /// # Errors
    /// When they do not come within a minute, or a connection is lost.
    pub async fn wait(&self, count: usize) -> anyhow::Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.count.load(Ordering::Acquire);
            if seen >= count {
                ensure!(seen == count, "{seen} arrived, {count} were expected");
                return Ok(self.last.load(Ordering::Acquire));
            }
            let closed = self.closed.load(Ordering::Acquire);
            ensure!(closed == 0, "{closed} connections were lost; {seen} of {count} arrived");
            ensure!(Instant::now() < deadline, "only {seen} of {count} arrived within a minute");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The latency that `share` of what was seen did not exceed, milliseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn quantile(&self, share: f64) -> f64 {
        let counts: Vec<u32> =
            self.latencies.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let mut left = (share * all as f64).ceil();
        for (number, count) in counts.iter().enumerate() {
            left -= f64::from(*count);
            if left <= 0.0 {
                return (number as f64 + 1.0) * WIDTH as f64 / 1_000.0;
            }
        }
        f64::NAN
    }
}

/// Open connections.
#[derive(Debug)]
pub struct Crowd {
    tasks: JoinSet<()>,
    /// What they have seen.
    pub seen: Arc<Seen>,
    /// Texts to say, for each connection.
    lines: Vec<mpsc::UnboundedSender<String>>,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), seen: Arc::new(Seen::default()), lines: Vec::new() }
    }
}

impl Crowd {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Opens connections until there are `count`; how many a second were opened.
    ///
    /// # Errors
    /// When one is refused.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub async fn grow(
        &mut self,
        door: &Arc<impl Door + 'static>,
        count: usize,
    ) -> anyhow::Result<f64> {
        let before = self.len();
        let began = Instant::now();
        let opened: Vec<(usize, Socket)> = stream::iter(before..count)
            .map(|number| {
                let door = door.clone();
                async move { tokio::spawn(open(door, number)).await? }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let took = began.elapsed().as_secs_f64();
        let mut opened = opened;
        opened.sort_by_key(|(number, _)| *number);
        for (_, socket) in opened {
            let (say, lines) = mpsc::unbounded_channel();
            self.lines.push(say);
            self.tasks.spawn(follow(socket, self.seen.clone(), lines));
        }
        Ok((count - before) as f64 / took)
    }

    /// Has connection `number` say `text`.
    pub fn say(&self, number: usize, text: String) {
        // A connection that is lost is noticed by those who wait for events.
        self.lines[number].send(text).ok();
    }

    /// Closes all.
    pub async fn leave(mut self) {
        self.seen.leaving.store(true, Ordering::Release);
        self.tasks.shutdown().await;
    }
}

async fn open(door: Arc<impl Door>, number: usize) -> anyhow::Result<(usize, Socket)> {
    let mut socket = Socket::connect(door.address(), &door.path(number), "")
        .await
        .with_context(|| format!("connection {number}"))?;
    let Some((line, answer)) = door.first(number) else { return Ok((number, socket)) };
    socket.say(&line).await?;
    let mut answered = false;
    let mut refused = None;
    while !answered {
        let open = socket
            .hear(|came| {
                match came {
                    Came::Text(text) if text.starts_with(answer.as_bytes()) => answered = true,
                    Came::Text(text) if text.starts_with(br#"{"type":"error"#) => {
                        refused = Some(String::from_utf8_lossy(text).into_owned());
                    }
                    Came::Text(_) => {}
                    Came::Close(code) => refused = Some(format!("closed with {code:?}")),
                }
                !answered && refused.is_none()
            })
            .await?;
        if let Some(refused) = refused {
            bail!("connection {number}: {refused}");
        }
        ensure!(open, "connection {number} ended");
    }
    Ok((number, socket))
}

async fn follow(mut socket: Socket, seen: Arc<Seen>, mut lines: mpsc::UnboundedReceiver<String>) {
    loop {
        let line = tokio::select! {
            heard = socket.hear(|came| match came {
                Came::Text(text) => {
                    seen.note(text);
                    true
                }
                Came::Close(_) => false,
            }) => {
                if !heard.unwrap_or(false) {
                    break;
                }
                continue;
            }
            line = lines.recv() => line,
        };
        match line {
            Some(line) if socket.say(&line).await.is_ok() => {}
            _ => break,
        }
    }
    if !seen.leaving.load(Ordering::Acquire) {
        seen.closed.fetch_add(1, Ordering::AcqRel);
    }
}
