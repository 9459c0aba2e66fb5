//! Who was signed out, of services that have a store: read from there when they start, whenever
//! one is announced or announcements may have been missed, and every minute; and told to the
//! gateways, which have none, when they ask.
//!
//! An announcement alone signs nobody out here: it only makes the store be read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::{SignOut, SignOuts};
use broker::{ControlMessage, ControlSignal, SharedBroker, SignedOut};
use rand::RngExt;
use store::{Store, StoreError};
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the store is read although nothing was announced.
const EVERY: Duration = Duration::from_secs(60);

/// How soon it is read again after it could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// How far back it is read then: longer than clocks differ and writes take.
const RECENT: time::Duration = time::Duration::minutes(10);

/// Sign-outs in one part of an answer: some 100 KiB at most.
const PART: usize = 200;

/// How long a service waits before it answers, at most: another may be quicker.
const TURN: Duration = Duration::from_millis(200);

/// Questions that are remembered as answered, at most.
const REMEMBERED: usize = 64;

/// Keeps sign-outs as the store has them.
#[derive(Clone)]
pub(crate) struct Keeper {
    store: Store,
    broker: SharedBroker,
    sign_outs: SignOuts,
    /// Questions that somebody answered.
    answered: Arc<Mutex<VecDeque<String>>>,
}

impl Keeper {
    pub(crate) fn new(store: &Store, broker: &SharedBroker, sign_outs: &SignOuts) -> Self {
        let (store, broker, sign_outs) = (store.clone(), broker.clone(), sign_outs.clone());
        Self { store, broker, sign_outs, answered: Arc::default() }
    }

    /// Reads who was signed out, and goes on keeping it, until `stop`. Before it was read nobody
    /// is let in; when the store is away, it is waited for.
    pub(crate) async fn start(self, stop: &CancellationToken) {
        // Attached first, so that nothing is missed between the reading and the first announcement.
        let control = self.broker.control();
        let mut warned = false;
        while let Err(error) = self.read_all().await {
            if !std::mem::replace(&mut warned, true) {
                tracing::warn!("waiting to read who was signed out: {error}");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        tokio::spawn(self.follow(control, stop.clone()));
    }

    async fn follow(self, mut control: broker::ControlReader, stop: CancellationToken) {
        let mut next = Instant::now() + EVERY;
        let mut all = false;
        loop {
            let signal = tokio::select! {
                () = stop.cancelled() => return,
                signal = control.next() => Some(signal),
                () = tokio::time::sleep_until(next) => None,
            };
            let by_the_clock = signal.is_none();
            match signal {
                Some(None) => return,
                Some(Some(ControlSignal::Gap)) => all = true,
                Some(Some(ControlSignal::Message(ControlMessage::SignedOut { .. }))) | None => {}
                Some(Some(ControlSignal::Message(other))) => {
                    self.hear(other);
                    continue;
                }
            }
            let read = if all { self.read_all().await } else { self.read_recent().await };
            if let Err(error) = read {
                tracing::debug!("who was signed out could not be read: {error}");
                next = Instant::now() + AGAIN;
                continue;
            }
            (all, next) = (false, Instant::now() + EVERY);
            if by_the_clock {
                self.forget_old().await;
            }
        }
    }

    async fn read_all(&self) -> Result<(), StoreError> {
        let oldest = self.sign_outs.oldest(OffsetDateTime::now_utc());
        self.read(oldest).await?;
        self.sign_outs.set_known();
        Ok(())
    }

    async fn read_recent(&self) -> Result<(), StoreError> {
        self.read(OffsetDateTime::now_utc() - RECENT).await
    }

    async fn read(&self, since: OffsetDateTime) -> Result<(), StoreError> {
        for row in self.store.sign_outs(since).await? {
            self.sign_outs.note(&SignOut { user: row.user, token_id: row.token_id, at: row.at });
        }
        Ok(())
    }

    /// Forgets what does not count any more, here and, a little at a time, in the store.
    async fn forget_old(&self) {
        let now = OffsetDateTime::now_utc();
        self.sign_outs.forget_old(now);
        let oldest = self.sign_outs.oldest(now);
        if let Err(error) = self.store.remove_old_sign_outs(oldest).await {
            tracing::debug!("old sign-outs were not removed: {error}");
        }
    }

    fn hear(&self, message: ControlMessage) {
        match message {
            ControlMessage::SignOutsWanted { question, since } if self.sign_outs.is_known() => {
                tokio::spawn(self.clone().answer(question, since));
            }
            ControlMessage::SignOuts { question, part, parts, .. } if part + 1 >= parts => {
                self.note_answered(question);
            }
            _ => {}
        }
    }

    fn note_answered(&self, question: String) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() == REMEMBERED {
            answered.pop_front();
        }
        answered.push_back(question);
    }

    fn is_answered(&self, question: &String) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(question)
    }

    /// Answers, unless another service did.
    async fn answer(self, question: String, since: Option<i64>) {
        let wait = rand::rng().random_range(Duration::ZERO..TURN);
        tokio::time::sleep(wait).await;
        if self.is_answered(&question) {
            return;
        }
        let since = since.and_then(time_of);
        let found: Vec<SignedOut> = self.sign_outs.list(since).into_iter().map(told).collect();
        let answer = domain::RequestId::generate().to_string();
        let everybody = self.sign_outs.everybody().map(micros);
        let mut chunks: Vec<Vec<SignedOut>> = found.chunks(PART).map(<[_]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let parts = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        for (part, sign_outs) in (0..).zip(chunks) {
            let message = ControlMessage::SignOuts {
                question: question.clone(),
                answer: answer.clone(),
                part,
                parts,
                sign_outs,
                everybody,
            };
            if let Err(error) = self.broker.announce(&message).await {
                // Who asked asks again.
                tracing::debug!("who was signed out could not be told: {error}");
                return;
            }
        }
    }
}

fn told(sign_out: SignOut) -> SignedOut {
    SignedOut {
        user_id: sign_out.user.to_string(),
        token_id: sign_out.token_id,
        at: micros(sign_out.at),
    }
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn time_of(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()
}
