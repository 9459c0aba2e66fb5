//! Public keys that others publish: kept, and read again now and then.
//!
//! Checking a token never waits for them: it uses what is there. One task reads them, at the
//! start, every `jwks_refresh`, and when a token names a key that is unknown, for which it is
//! asked at most once a minute, whatever tokens come. Whoever can wait (a request) waits for that
//! reading, for two seconds at most, so that the first token of a new key is not refused.

mod keys;
mod source;

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use keys::{Algorithm, PublicKeys};
use source::Source;

use crate::{AccessError, AuthConfig};

/// Unknown keys make the set be read once in this time.
const ASKED_EVERY: Duration = Duration::from_secs(60);

/// How long a request waits for keys to be read.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long keys are used that cannot be read again.
const KEPT: time::Duration = time::Duration::hours(24);

/// The first wait after a reading that failed; doubled after each further one.
const SOON: Duration = Duration::from_secs(5);

/// The keys of one set.
#[derive(Debug)]
pub(crate) struct Jwks {
    current: RwLock<Option<Current>>,
    asking: Mutex<Asking>,
    wake: Arc<Notify>,
    /// How many readings have ended.
    readings: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Current {
    keys: Arc<PublicKeys>,
    read_at: OffsetDateTime,
}

#[derive(Debug)]
struct Asking {
    /// When an unknown key last made the set be read.
    last: Option<Instant>,
    /// Whether a reading was asked for that has not ended.
    open: bool,
}

impl Jwks {
    /// Begins to keep the set that the settings name; `None` when they name none. A file must be
    /// readable; a server may be away.
    ///
    /// # Errors
    /// When the setting is wrong, or the file holds no usable key.
    pub(crate) fn start(config: &AuthConfig) -> Result<Option<Arc<Self>>, AccessError> {
        let Some(source) = Source::of(config)? else {
            return Ok(None);
        };
        let first = source.read_file()?.map(|keys| Current::new(keys.into()));
        let jwks = Arc::new(Self {
            // The first reading of a server is on its way: whoever comes before waits for it.
            asking: Mutex::new(Asking { last: None, open: first.is_none() }),
            current: RwLock::new(first),
            wake: Arc::new(Notify::new()),
            readings: watch::Sender::new(0),
        });
        let (kept, wake) = (Arc::downgrade(&jwks), jwks.wake.clone());
        tokio::spawn(keep(kept, wake, source, config.jwks_refresh.max(Duration::from_secs(1))));
        Ok(Some(jwks))
    }

    /// The keys, unless they are too old.
    pub(crate) fn keys(&self, now: OffsetDateTime) -> Option<Arc<PublicKeys>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = current.as_ref().filter(|current| now - current.read_at < KEPT);
        fresh.map(|current| current.keys.clone())
    }

    /// Has the set read again, unless that was done for an unknown key within the last minute;
    /// whether a reading is on its way.
    pub(crate) fn ask(&self) -> bool {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if !asking.open && asking.last.is_none_or(|at| at.elapsed() >= ASKED_EVERY) {
            *asking = Asking { last: Some(Instant::now()), open: true };
            self.wake.notify_one();
        }
        asking.open
    }

    /// Waits for the reading that was asked for; false when there is none, or it takes too long.
    pub(crate) async fn learn(&self) -> bool {
        // First, so that no end is missed.
        let mut readings = self.readings.subscribe();
        self.ask() && tokio::time::timeout(PATIENCE, readings.changed()).await.is_ok()
    }

    fn take(&self, keys: PublicKeys) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|current| *current.keys != keys) {
            tracing::info!("{} keys of access tokens are in use", keys.len());
        }
        *current = Some(Current::new(keys.into()));
    }

    fn ended(&self) {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).open = false;
        self.readings.send_modify(|count| *count += 1);
    }
}

impl Current {
    fn new(keys: Arc<PublicKeys>) -> Self {
        Self { keys, read_at: OffsetDateTime::now_utc() }
    }
}

impl Drop for Jwks {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// Reads the set until nobody needs it any more.
async fn keep(jwks: Weak<Jwks>, wake: Arc<Notify>, source: Source, every: Duration) {
    let mut failures = 0;
    let mut wait = if source.is_file() { every } else { Duration::ZERO };
    loop {
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        if jwks.strong_count() == 0 {
            return;
        }
        let read = source.read().await;
        let Some(jwks) = jwks.upgrade() else {
            return;
        };
        wait = match read {
            Ok(keys) => {
                failures = 0;
                jwks.take(keys);
                every
            }
            Err(reason) => {
                // Said once, and again every time that a day's worth of trouble has grown.
                if failures == 0 {
                    tracing::warn!(
                        "the keys of access tokens cannot be read, those read last stay in use for 24 h: {reason}"
                    );
                }
                failures += 1;
                every.min(SOON * 2_u32.pow(Ord::min(failures, 10) - 1))
            }
        };
        jwks.ended();
    }
}
