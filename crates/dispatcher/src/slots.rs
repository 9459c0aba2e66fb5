//! How much may be under way: two lanes with slots of their own, so that first attempts never
//! wait behind retries, and a limit for each webhook.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use domain::{AttemptReport, WebhookId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::DispatcherConfig;
use crate::circuit::Circuit;

/// Which slots an attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// First attempts.
    First,
    /// Retries, redeliveries and handed-back work.
    Later,
}

/// The slots of a dispatcher.
pub(crate) struct Slots {
    first: Arc<Semaphore>,
    later: Arc<Semaphore>,
    gates: DashMap<WebhookId, Arc<Gate>>,
    per_webhook: u32,
    circuit_failures: u32,
    circuit_pause: Duration,
}

/// What is under way to one webhook, and whether it may be tried.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    under_way: AtomicU32,
    circuit: Mutex<Circuit>,
}

/// A request that may be made. Dropped, its slots are free again.
pub(crate) struct Slot {
    gate: Arc<Gate>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.gate.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slots {
    pub(crate) fn new(config: &DispatcherConfig) -> Self {
        Self {
            first: Arc::new(Semaphore::new(config.concurrency.max(1))),
            later: Arc::new(Semaphore::new(config.retry_concurrency.max(1))),
            gates: DashMap::new(),
            per_webhook: config.per_webhook.max(1),
            circuit_failures: config.circuit_failures.max(1),
            circuit_pause: config.circuit_pause,
        }
    }

    /// The gate of `webhook`, the same for as long as anything is under way to it.
    pub(crate) fn gate(&self, webhook: WebhookId) -> Arc<Gate> {
        self.gates.entry(webhook).or_default().clone()
    }

    /// Forgets the gates that nobody uses and that have nothing to remember.
    pub(crate) fn forget_idle(&self) {
        self.gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.circuit().is_untroubled());
    }

    /// A slot for a request to the webhook of `gate`; `None` when the webhook is at its limit or
    /// its circuit open: the delivery must wait its turn with the broker. Waits for a free slot
    /// of the lane, which holds up whoever takes messages: that is the back-pressure.
    pub(crate) async fn take(&self, gate: &Arc<Gate>, lane: Lane) -> Option<Slot> {
        let lane = match lane {
            Lane::First => &self.first,
            Lane::Later => &self.later,
        };
        if gate.under_way.fetch_add(1, Ordering::AcqRel) >= self.per_webhook
            || !gate.circuit().admits(Instant::now(), self.circuit_pause)
        {
            gate.under_way.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let permit = lane.clone().acquire_owned().await.expect("the semaphores are never closed");
        Some(Slot { gate: gate.clone(), _permit: permit })
    }

    /// Remembers what came of an attempt.
    pub(crate) fn note(&self, gate: &Gate, report: &AttemptReport) {
        gate.circuit().note(report, Instant::now(), self.circuit_failures, self.circuit_pause);
    }
}

impl Gate {
    fn circuit(&self) -> std::sync::MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
