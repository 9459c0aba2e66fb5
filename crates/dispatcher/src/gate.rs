//! What is under way to one webhook, to its host and for its user, and whether more may be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::AttemptReport;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::circuit::Circuit;
use crate::pace::Pace;

/// How long a request to a full but quick endpoint waits here, before it is handed back to the
/// broker for seconds.
const MOMENT: Duration = Duration::from_millis(250);

/// The endpoint must be left alone for now; its delivery waits with the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// As many requests are under way to it, to its host or for its user as may be.
    AtItsLimit,
    /// Its circuit has been open for this long.
    Open(Duration),
    /// Its own limit a second puts the delivery off for this long.
    Paced(Duration),
}

/// How much may be under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) per_webhook: usize,
    pub(crate) per_host: usize,
    pub(crate) per_user: usize,
    /// Slow requests of one user.
    pub(crate) slow_per_user: usize,
    /// Slow requests to one webhook, once half of all that may be are under way.
    pub(crate) slow_per_webhook: usize,
    pub(crate) circuit_failures: u32,
    pub(crate) circuit_pause: Duration,
}

/// Requests that are limited together.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Semaphore>,
    slow: AtomicUsize,
}

/// One webhook's.
#[derive(Debug)]
pub(crate) struct Gate {
    webhook: Share,
    pub(crate) host: Arc<Share>,
    pub(crate) user: Arc<Share>,
    pub(crate) pace: Pace,
    circuit: Mutex<Circuit>,
    waiting: AtomicUsize,
}

/// Of the webhook, the host and, until the request is slow, the user.
type Permits = [Option<OwnedSemaphorePermit>; 3];

/// A request that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    gate: Arc<Gate>,
    permits: Permits,
    slow: bool,
    /// How long it must wait before it is made.
    pub(crate) wait: Duration,
}

impl Share {
    pub(crate) fn new(limit: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(limit)), slow: AtomicUsize::new(0) }
    }

    fn slow(&self) -> usize {
        self.slow.load(Ordering::Acquire)
    }
}

impl Gate {
    pub(crate) fn new(limits: &Limits, host: Arc<Share>, user: Arc<Share>) -> Self {
        Self {
            webhook: Share::new(limits.per_webhook),
            host,
            user,
            pace: Pace::default(),
            circuit: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    fn shares(&self) -> [&Share; 3] {
        [&self.webhook, &self.host, &self.user]
    }

    /// Counts a request, if it may be made; `fresh` when it is its delivery's first.
    ///
    /// # Errors
    /// [`Busy`] when it may not.
    pub(crate) fn enter(
        self: &Arc<Self>,
        limits: &Limits,
        scarce: bool,
        fresh: bool,
    ) -> Result<Entered, Busy> {
        if self.user.slow() >= limits.slow_per_user
            || (scarce && self.webhook.slow() >= limits.slow_per_webhook)
        {
            return Err(Busy::AtItsLimit);
        }
        let mut permits = Permits::default();
        for (share, permit) in self.shares().into_iter().zip(&mut permits) {
            let room = share.room.clone().try_acquire_owned();
            *permit = Some(room.map_err(|_| Busy::AtItsLimit)?);
        }
        self.admit(permits, limits, fresh)
    }

    /// Whether it pays to wait a moment for room: the endpoint is quick and few wait already.
    pub(crate) fn is_quick(&self, limits: &Limits) -> bool {
        self.webhook.slow() == 0 && self.waiting.load(Ordering::Acquire) < 8 * limits.per_webhook
    }

    /// Waits a moment for room.
    ///
    /// # Errors
    /// [`Busy`] when there was none.
    pub(crate) async fn enter_soon(
        self: &Arc<Self>,
        limits: &Limits,
        fresh: bool,
    ) -> Result<Entered, Busy> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let entering = async {
            let mut permits = Permits::default();
            for (share, permit) in self.shares().into_iter().zip(&mut permits) {
                *permit = Some(share.room.clone().acquire_owned().await.ok()?);
            }
            Some(permits)
        };
        let entered = tokio::time::timeout(MOMENT, entering).await;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        self.admit(entered.ok().flatten().ok_or(Busy::AtItsLimit)?, limits, fresh)
    }

    fn admit(
        self: &Arc<Self>,
        permits: Permits,
        limits: &Limits,
        fresh: bool,
    ) -> Result<Entered, Busy> {
        let now = Instant::now();
        self.circuit().admits(now, limits.circuit_pause).map_err(Busy::Open)?;
        let wait = self.pace.reserve(now, fresh).map_err(Busy::Paced)?;
        Ok(Entered { gate: self.clone(), permits, slow: false, wait })
    }

    /// Remembers what came of an attempt.
    pub(crate) fn note(&self, report: &AttemptReport, limits: &Limits) {
        let (failures, pause) = (limits.circuit_failures, limits.circuit_pause);
        self.circuit().note(report, Instant::now(), failures, pause);
    }

    /// Whether there is nothing to remember of it.
    pub(crate) fn is_untroubled(&self) -> bool {
        self.circuit().is_untroubled()
    }

    /// Requests that wait a moment for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether its endpoint is left alone, but for probes.
    pub(crate) fn is_open(&self) -> bool {
        self.circuit().is_open()
    }

    fn circuit(&self) -> std::sync::MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// Counts it among the slow ones from now on: its user may make another quick one.
    pub(crate) fn becomes_slow(&mut self) {
        if !std::mem::replace(&mut self.slow, true) {
            self.permits[2] = None;
            for share in self.gate.shares() {
                share.slow.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.slow {
            for share in self.gate.shares() {
                share.slow.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        per_webhook: 4,
        per_host: 6,
        per_user: 5,
        slow_per_user: 3,
        slow_per_webhook: 1,
        circuit_failures: 3,
        circuit_pause: Duration::from_secs(15),
    };

    fn shares() -> (Arc<Share>, Arc<Share>) {
        (Arc::new(Share::new(LIMITS.per_host)), Arc::new(Share::new(LIMITS.per_user)))
    }

    fn gate(host: &Arc<Share>, user: &Arc<Share>) -> Arc<Gate> {
        Arc::new(Gate::new(&LIMITS, host.clone(), user.clone()))
    }

    fn fill(gate: &Arc<Gate>) -> Vec<Entered> {
        std::iter::from_fn(|| gate.enter(&LIMITS, false, true).ok()).take(100).collect()
    }

    #[test]
    fn a_webhook_a_user_and_a_host_have_their_limits_and_what_ends_makes_room() {
        let (host, user) = shares();
        let (first, second) = (gate(&host, &user), gate(&host, &user));
        let stranger = gate(&host, &shares().1);
        let mut held = fill(&first);
        assert_eq!(held.len(), 4, "the webhook has four");
        held.extend(fill(&second));
        assert_eq!(held.len(), 5, "the user has five");
        assert_eq!(fill(&stranger).len(), 1, "the host has six");
        drop(held);
        assert_eq!(fill(&stranger).len(), 4);
    }

    #[test]
    fn slow_requests_leave_room_for_quick_ones_but_not_without_end() {
        let (host, user) = shares();
        let gate = gate(&host, &user);
        let mut slow = gate.enter(&LIMITS, false, true).unwrap();
        slow.becomes_slow();
        slow.becomes_slow();
        assert_eq!((host.slow(), user.room.available_permits()), (1, 5));
        assert!(gate.enter(&LIMITS, false, true).is_ok());
        assert_eq!(gate.enter(&LIMITS, true, true).err(), Some(Busy::AtItsLimit), "scarce");
        let mut others = fill(&gate);
        assert_eq!(others.len(), 3, "the slow one counts for its webhook");
        others.iter_mut().take(2).for_each(Entered::becomes_slow);
        others.truncate(2);
        assert_eq!(gate.enter(&LIMITS, false, true).err(), Some(Busy::AtItsLimit), "three slow");
        drop((others, slow));
        assert_eq!((user.slow(), fill(&gate).len()), (0, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_endpoint_is_waited_for_a_moment_as_long_as_it_is_quick() {
        let (host, user) = shares();
        let gate = gate(&host, &user);
        let mut held = fill(&gate);
        assert_eq!(gate.enter_soon(&LIMITS, true).await.err(), Some(Busy::AtItsLimit));
        let (waited, ()) = tokio::join!(gate.enter_soon(&LIMITS, true), async {
            tokio::time::sleep(MOMENT / 2).await;
            held.pop();
        });
        assert!(waited.is_ok());
        assert!(gate.is_quick(&LIMITS));
        held[0].becomes_slow();
        assert!(!gate.is_quick(&LIMITS));
    }
}
