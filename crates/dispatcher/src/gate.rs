//! What is under way to one webhook, and whether more may be.
//!
//! A request goes when its endpoint takes it ([`crate::limit`]), its circuit and its pace allow, and
//! there is room for its user ([`crate::room`]). One that comes with a message waits here only while
//! that is a matter of milliseconds; otherwise it goes into the webhook's backlog, and so do all
//! that follow it, until the backlog has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::{AttemptReport, FailureKind};
use tokio::sync::oneshot;

use crate::circuit::Circuit;
use crate::limit::{Answer, Limit};
use crate::pace::Pace;
use crate::room::{Held, Room};
use crate::slots::{Host, Lane, Rooms, User};

/// How long a message waits here at most: that of a request whose turn does not come by then goes
/// into the backlog.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);

/// As much may wait here as the endpoint takes in this time.
const SOON: Duration = Duration::from_millis(400);

/// An endpoint that takes so many in [`SOON`] is worth waiting for: putting off is hardly quicker.
const AS_MANY: usize = 400;

/// Others wait for one user's endpoints for so long in ten seconds, and for all users' for so long.
const WAITED_FOR_ONE: Duration = Duration::from_millis(50);
const WAITED_FOR_ALL: Duration = Duration::from_millis(500);

/// So many may wait for an endpoint whatever it takes, and so many for one that is not known yet.
const FEW: usize = 16;
const UNKNOWN: usize = 256;

/// How long a backlog elsewhere is believed in when its end is not announced.
const ELSEWHERE: Duration = Duration::from_secs(30);

/// How long it is remembered how an endpoint that is not used answers. An endpoint that is forgotten
/// is a new one, which may have to wait for others that are.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// How soon it is looked again after no file was free.
const FILES_AGAIN: Duration = Duration::from_millis(250);

/// Whether a request may be made.
pub(crate) enum Turn {
    /// It may.
    Now(Entered),
    /// In a moment; when the sender is gone, its delivery goes into the backlog.
    Soon(oneshot::Receiver<Entered>),
    /// In a moment, but too much of this user waits here: take nothing more until less does.
    Full,
    /// Its delivery goes into the backlog.
    Backlog,
}

/// What is known of the webhook's backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backlog {
    None,
    /// It has one, which this dispatcher may hold.
    Known,
    /// It has one that another dispatcher holds, believed in until then.
    Elsewhere(Instant),
}

/// One webhook's.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) user: Arc<User>,
    pub(crate) host: Arc<Host>,
    /// What its user holds of the room at the host.
    at_host: Arc<Held>,
    rooms: Arc<Rooms>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    circuit: Circuit,
    pace: Pace,
    backlog: Backlog,
    under_way: usize,
    /// Of those, by where they are counted.
    kinds: [usize; Kind::COUNT],
    /// Of those, how many have taken over 250 ms.
    hanging: usize,
    last: Last,
    /// When a request was last made.
    used_at: Option<Instant>,
    waiting: VecDeque<Waiter>,
    /// Whether it stands in the ring of a room.
    in_ring: bool,
    /// When it is looked at again by itself.
    again: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    lane: Lane,
    /// With a message, which is counted among those that wait here.
    counted: bool,
    wake: oneshot::Sender<Entered>,
}

/// Where a request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Quick(Lane),
    /// To an endpoint that answers, and takes its time.
    Slow,
    /// To one that nothing is known of yet.
    Fresh,
    /// To one that did not answer.
    Silent,
}

/// What came of the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Answered,
    NoAnswer,
}

/// An endpoint is quick whose answers take less than this.
const QUICK: Duration = Duration::from_millis(250);

impl Kind {
    const COUNT: usize = 5;

    fn place(self) -> usize {
        match self {
            Self::Quick(Lane::First) => 0,
            Self::Quick(Lane::Later) => 1,
            Self::Slow => 2,
            Self::Fresh => 3,
            Self::Silent => 4,
        }
    }
}

/// Why a request cannot be made now.
enum Blocked<'a> {
    /// The endpoint has as many as it takes.
    Limit,
    /// Not before then.
    Until(Instant),
    /// Others use the room.
    Room(&'a Room),
    /// No file is free for a connection.
    Files,
}

/// A request that may be made. It is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    gate: Arc<Gate>,
    kind: Kind,
    is_slow: bool,
    /// How many were under way with it.
    among: usize,
}

impl Gate {
    pub(crate) fn new(rooms: Arc<Rooms>, host: Arc<Host>, user: Arc<User>) -> Self {
        let state = State {
            limit: Limit::new(rooms.per_webhook),
            circuit: Circuit::default(),
            pace: Pace::default(),
            backlog: Backlog::None,
            under_way: 0,
            kinds: [0; Kind::COUNT],
            hanging: 0,
            last: Last::Nothing,
            used_at: None,
            waiting: VecDeque::new(),
            in_ring: false,
            again: None,
        };
        Self { at_host: host.held_by(&user), user, host, rooms, state: Mutex::new(state) }
    }

    /// The same webhook at another host: what its old one did says nothing of the new one.
    pub(crate) fn moved(&self, host: Arc<Host>) -> Self {
        let moved = Self::new(self.rooms.clone(), host, self.user.clone());
        moved.lock().backlog = self.lock().backlog;
        moved
    }

    /// Names its user among those who wait for room.
    pub(crate) fn user_key(&self) -> usize {
        Arc::as_ptr(&self.user).addr()
    }

    /// Whether its endpoint answers quickly.
    pub(crate) fn is_quick(&self) -> bool {
        self.lock().is_quick()
    }

    /// Sets its own limit, in deliveries a second.
    pub(crate) fn set_pace(&self, per_second: Option<u32>) {
        self.lock().pace.set(per_second);
    }

    /// Whether it has one.
    pub(crate) fn is_paced(&self) -> bool {
        self.lock().pace.is_set()
    }

    /// Asks for a request that comes with a message.
    pub(crate) fn ask(self: &Arc<Self>, lane: Lane) -> Turn {
        let mut state = self.lock();
        let now = Instant::now();
        if lane == Lane::First {
            self.rooms.company.comes(self.user_key(), now);
        }
        if state.has_backlog(now) || state.pace.is_set() {
            return Turn::Backlog;
        }
        if state.waiting.is_empty() {
            match self.start(&mut state, lane, now) {
                Ok(entered) => return Turn::Now(entered),
                Err(Blocked::Until(_) | Blocked::Files) => return self.backlog(state),
                // Others hold it for as long as their endpoints take.
                Err(Blocked::Room(_)) if !state.is_quick() => return self.backlog(state),
                Err(Blocked::Limit | Blocked::Room(_)) => {}
            }
        }
        let is_soon = state.waiting.len() < state.may_wait();
        if !is_soon || !self.rooms.waiting.take(&self.user.waiting, state.waiting.len()) {
            return if self.is_worth_it(&state, now) { Turn::Full } else { self.backlog(state) };
        }
        let turn = state.wait(lane, true);
        let woken = self.start_waiting(&mut state);
        drop(state);
        self.wake(woken);
        Turn::Soon(turn)
    }

    /// Asks for a request that comes from the backlog, which waits for as long as it takes.
    pub(crate) fn ask_from_backlog(self: &Arc<Self>) -> oneshot::Receiver<Entered> {
        let turn = self.lock().wait(Lane::Later, false);
        self.pump();
        turn
    }

    /// Whether others may wait a moment, so that nothing is put off.
    fn is_worth_it(&self, state: &State, now: Instant) -> bool {
        let is_quick = state.is_quick() || state.kind(Lane::First) == Kind::Fresh;
        // One that is given more with each answer may take as many in a moment.
        let takes_many = state.takes_soon() >= AS_MANY || state.limit.is_rising();
        let is_alone = || self.rooms.company.is_alone(self.user_key(), now);
        is_quick && takes_many && (is_alone() || self.may_hold_back(now))
    }

    fn may_hold_back(&self, now: Instant) -> bool {
        self.user.held_back.is_less(WAITED_FOR_ONE, now)
            && self.rooms.held_back.is_less(WAITED_FOR_ALL, now)
    }

    /// Others have waited for it for so long.
    pub(crate) fn held_back(&self, waited: Duration) {
        let now = Instant::now();
        self.user.held_back.add(waited, now);
        if !self.rooms.company.is_alone(self.user_key(), now) {
            self.rooms.held_back.add(waited, now);
        }
    }

    /// All that wait here go into the backlog, and so do those that follow.
    pub(crate) fn spill(&self) {
        self.backlog(self.lock());
    }

    fn backlog(&self, mut state: MutexGuard<'_, State>) -> Turn {
        state.backlog = Backlog::Known;
        let (gone, stay) = std::mem::take(&mut state.waiting).into_iter().partition(|w| w.counted);
        state.waiting = stay;
        drop(state);
        self.no_longer_wait(gone);
        Turn::Backlog
    }

    fn no_longer_wait(&self, gone: VecDeque<Waiter>) {
        gone.iter().for_each(|_| self.rooms.waiting.give_back(&self.user.waiting));
        if !gone.is_empty() {
            self.rooms.less_waits.notify_waiters();
        }
    }

    /// The webhook has a backlog; `elsewhere` when another dispatcher holds it.
    pub(crate) fn has_backlog(&self, elsewhere: bool) {
        let until = Instant::now() + ELSEWHERE;
        let known = if elsewhere { Backlog::Elsewhere(until) } else { Backlog::Known };
        self.lock().backlog = known;
    }

    /// The webhook's backlog has ended.
    pub(crate) fn backlog_ended(&self) {
        self.lock().backlog = Backlog::None;
    }

    /// Lets those go that may.
    pub(crate) fn pump(self: &Arc<Self>) {
        let mut state = self.lock();
        state.in_ring = false;
        let woken = self.start_waiting(&mut state);
        drop(state);
        self.wake(woken);
    }

    fn start_waiting(self: &Arc<Self>, state: &mut State) -> Vec<(Waiter, Entered)> {
        let (mut woken, now) = (Vec::new(), Instant::now());
        loop {
            while state.waiting.front().is_some_and(|first| first.wake.is_closed()) {
                let left = state.waiting.pop_front();
                self.no_longer_wait(left.into_iter().filter(|left| left.counted).collect());
            }
            let Some(lane) = state.waiting.front().map(|first| first.lane) else { break };
            match self.start(state, lane, now) {
                Ok(entered) => woken.extend(state.waiting.pop_front().map(|w| (w, entered))),
                // Room may have come free just before it stood in the ring.
                Err(Blocked::Room(room)) if !std::mem::replace(&mut state.in_ring, true) => {
                    room.wait(self);
                }
                Err(blocked) => {
                    self.look_again(state, &blocked, now);
                    break;
                }
            }
        }
        woken
    }

    /// After the lock is released: who is woken may have left, and ends what was begun for them.
    fn wake(&self, woken: Vec<(Waiter, Entered)>) {
        for (waiter, entered) in woken {
            if waiter.counted {
                self.rooms.waiting.give_back(&self.user.waiting);
                self.rooms.less_waits.notify_waiters();
            }
            drop(waiter.wake.send(entered));
        }
    }

    fn look_again(self: &Arc<Self>, state: &mut State, blocked: &Blocked<'_>, now: Instant) {
        let at = match *blocked {
            // Whoever ends lets the next one go.
            Blocked::Limit | Blocked::Room(_) => return,
            Blocked::Files => now + FILES_AGAIN,
            Blocked::Until(at) => at,
        };
        if state.again.is_some_and(|again| again > now && again <= at) {
            return;
        }
        state.again = Some(at);
        let gate = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(gate) = gate.upgrade() {
                gate.pump();
            }
        });
    }

    /// Counts a request, if it may be made.
    fn start(
        self: &Arc<Self>,
        state: &mut State,
        lane: Lane,
        now: Instant,
    ) -> Result<Entered, Blocked<'_>> {
        if state.under_way >= state.limit.allows() {
            return Err(Blocked::Limit);
        }
        state.circuit.admits(now).map_err(Blocked::Until)?;
        state.pace.admits(now).map_err(Blocked::Until)?;
        if !self.rooms.files.has_room() {
            return Err(Blocked::Files);
        }
        if !self.host.room.take(&self.at_host, state.under_way) {
            return Err(Blocked::Room(&self.host.room));
        }
        let kind = state.kind(lane);
        let (room, held) = self.counted(kind);
        if !room.take(held, state.kinds[kind.place()]) {
            self.host.room.give_back(&self.at_host);
            return Err(Blocked::Room(room));
        }
        state.circuit.goes(now, self.rooms.circuit_pause);
        state.pace.goes(now);
        self.rooms.files.begun();
        state.used_at = Some(now);
        state.under_way += 1;
        state.kinds[kind.place()] += 1;
        Ok(Entered { gate: self.clone(), kind, is_slow: false, among: state.under_way })
    }

    fn counted(&self, kind: Kind) -> (&Room, &Held) {
        match kind {
            Kind::Quick(Lane::First) => (&self.rooms.first, &self.user.first),
            Kind::Quick(Lane::Later) => (&self.rooms.later, &self.user.later),
            Kind::Slow => (&self.rooms.slow, &self.user.slow),
            Kind::Fresh => (&self.rooms.fresh, &self.user.fresh),
            Kind::Silent => (&self.rooms.silent, &self.user.silent),
        }
    }

    /// Since when its endpoint has not answered, while its circuit is open.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        self.lock().circuit.open_since()
    }

    /// Another dispatcher has found that its endpoint does not answer, for this long.
    pub(crate) fn is_silent(&self, since: Instant) {
        self.lock().circuit.open(since);
    }

    /// Whether there is nothing to remember of it that is worth its room.
    pub(crate) fn is_idle(&self) -> bool {
        let (mut state, now) = (self.lock(), Instant::now());
        state.under_way == 0
            && state.waiting.is_empty()
            && !state.has_backlog(now)
            && state.used_at.is_none_or(|used| now.duration_since(used) >= REMEMBERED)
    }

    /// Requests that wait a moment for room.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.iter().filter(|waiter| waiter.counted).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether its endpoint answers quickly, and no request to it takes long now.
    fn is_quick(&self) -> bool {
        self.hanging == 0
            && self.last == Last::Answered
            && self.limit.typical().is_some_and(|typical| typical < QUICK)
    }

    /// Where a request is counted that begins now. What hangs takes no room from what answers, and
    /// what is silent none from what is new.
    fn kind(&self, lane: Lane) -> Kind {
        match self.last {
            _ if self.is_quick() => Kind::Quick(lane),
            Last::Answered => Kind::Slow,
            Last::Nothing if self.hanging == 0 => Kind::Fresh,
            Last::Nothing | Last::NoAnswer => Kind::Silent,
        }
    }

    fn has_backlog(&mut self, now: Instant) -> bool {
        if matches!(self.backlog, Backlog::Elsewhere(until) if until <= now) {
            self.backlog = Backlog::None;
        }
        self.backlog != Backlog::None
    }

    /// How many messages may wait here: those whose turn comes soon.
    fn may_wait(&self) -> usize {
        if self.last == Last::NoAnswer {
            return 0;
        }
        // While it is given more with each answer, what it takes is not known yet.
        let least = if self.limit.is_rising() { UNKNOWN } else { FEW };
        self.takes_soon().max(least)
    }

    /// How many the endpoint takes in [`SOON`], as far as is known.
    fn takes_soon(&self) -> usize {
        let Some(typical) = self.limit.typical() else { return 0 };
        let rounds = SOON.as_micros() / typical.as_micros().max(1);
        let soon = rounds.saturating_mul(self.limit.allows() as u128);
        usize::try_from(soon).unwrap_or(usize::MAX)
    }

    fn wait(&mut self, lane: Lane, counted: bool) -> oneshot::Receiver<Entered> {
        let (wake, turn) = oneshot::channel();
        self.waiting.push_back(Waiter { lane, counted, wake });
        turn
    }
}

impl Entered {
    /// It has taken 250 ms: its slot goes to others, and it keeps a place among the slow ones. What
    /// waits for an endpoint that has not answered yet waits no longer.
    pub(crate) fn becomes_slow(&mut self) {
        if std::mem::replace(&mut self.is_slow, true) {
            return;
        }
        self.gate.lock().hanging += 1;
        match self.kind {
            // Whatever is free: its own slot is for those that are quick.
            Kind::Quick(_) => {
                self.gate.rooms.slow.force(&self.gate.user.slow);
                self.is_now(Kind::Slow);
            }
            // It may be silent; where there is no place for one more of those, it keeps its own.
            Kind::Fresh if self.gate.rooms.silent.take_any(&self.gate.user.silent) => {
                self.is_now(Kind::Silent);
            }
            Kind::Fresh | Kind::Slow | Kind::Silent => {}
        }
        self.spill_if_unknown();
    }

    /// Counts it as `kind`, where it has a place already, and gives its old one back.
    fn is_now(&mut self, kind: Kind) {
        let gate = &self.gate;
        let old = std::mem::replace(&mut self.kind, kind);
        let mut state = gate.lock();
        state.kinds[old.place()] -= 1;
        state.kinds[kind.place()] += 1;
        drop(state);
        let (room, held) = gate.counted(old);
        room.give_back(held);
        room.wake();
    }

    /// Whether no answer, or a late one, is to be expected.
    pub(crate) fn expects_long(&self) -> bool {
        self.kind == Kind::Silent
    }

    /// What waits for an endpoint that has not answered yet goes into the backlog.
    pub(crate) fn spill_if_unknown(&self) {
        let state = self.gate.lock();
        if state.limit.typical().is_none() && state.waiting.iter().any(|waiter| waiter.counted) {
            self.gate.backlog(state);
        }
    }

    /// It has taken a second and goes on.
    pub(crate) fn hangs(&self) {
        let mut state = self.gate.lock();
        let under_way = state.under_way;
        state.limit.hangs(Instant::now(), under_way);
    }

    /// What came of it.
    pub(crate) fn note(&self, report: &AttemptReport) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        state.limit.ended(now, report.duration, answer(report), self.among);
        if report.status.is_some() {
            state.last = Last::Answered;
        } else if report.duration >= QUICK {
            state.last = Last::NoAnswer;
        }
        // A connection that is refused at once says that nobody is there, and takes no room.
        let rooms = &self.gate.rooms;
        state.circuit.note(report, now, rooms.circuit_failures, rooms.circuit_pause);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let gate = self.gate.clone();
        let (room, held) = gate.counted(self.kind);
        gate.rooms.files.ended();
        room.give_back(held);
        gate.host.room.give_back(&gate.at_host);
        let mut state = gate.lock();
        state.under_way -= 1;
        state.kinds[self.kind.place()] -= 1;
        state.hanging -= usize::from(self.is_slow);
        let woken = gate.start_waiting(&mut state);
        drop(state);
        gate.wake(woken);
        room.wake();
        gate.host.room.wake();
    }
}

/// How an endpoint took a request.
fn answer(report: &AttemptReport) -> Answer {
    match report.failure.as_ref().map(|failure| failure.kind) {
        Some(FailureKind::Timeout) => Answer::TimedOut,
        Some(FailureKind::Status) if matches!(report.status, Some(429 | 503)) => Answer::Overload,
        None | Some(FailureKind::Status | FailureKind::Redirect) => Answer::Ok,
        Some(_) => Answer::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DispatcherConfig;
    use crate::files::Files;
    use crate::slots::Slots;
    use domain::{AttemptFailure, WebhookId};

    struct House(Slots);

    impl House {
        fn new(change: impl FnOnce(&mut DispatcherConfig)) -> Self {
            let mut config = DispatcherConfig::default();
            change(&mut config);
            Self(Slots::new(&config, Arc::new(Files::new())))
        }

        fn gate(&self, user: &str, host: &str) -> Arc<Gate> {
            self.0.gate(WebhookId::generate(), &user.parse().unwrap(), host.to_owned())
        }
    }

    fn now(gate: &Arc<Gate>) -> Entered {
        match gate.ask(Lane::First) {
            Turn::Now(entered) => entered,
            _ => panic!("it may go"),
        }
    }

    fn soon(gate: &Arc<Gate>) -> oneshot::Receiver<Entered> {
        match gate.ask(Lane::First) {
            Turn::Soon(turn) => turn,
            _ => panic!("it may go soon"),
        }
    }

    fn is_backlog(gate: &Arc<Gate>) -> bool {
        matches!(gate.ask(Lane::First), Turn::Backlog)
    }

    fn report(took: Duration, failure: Option<FailureKind>) -> AttemptReport {
        AttemptReport {
            started_at: time::OffsetDateTime::UNIX_EPOCH,
            duration: took,
            status: failure.is_none().then_some(200),
            address: None,
            response: Default::default(),
            retry_after: None,
            failure: failure.map(|kind| AttemptFailure { kind, text: String::new() }),
        }
    }

    fn answered(entered: Entered, took: Duration) {
        entered.note(&report(took, None));
    }

    fn timed_out(entered: Entered) {
        entered.note(&report(Duration::from_secs(30), Some(FailureKind::Timeout)));
    }

    fn all_now(gate: &Arc<Gate>) -> Vec<Entered> {
        std::iter::from_fn(|| match gate.ask(Lane::First) {
            Turn::Now(entered) => Some(entered),
            _ => None,
        })
        .take(10_000)
        .collect()
    }

    /// An endpoint that has answered quickly for a while.
    async fn quick(house: &House, user: &str, host: &str) -> Arc<Gate> {
        let gate = house.gate(user, host);
        for _ in 0..50 {
            let held: Vec<Entered> = (0..4).map(|_| now(&gate)).collect();
            held.into_iter().for_each(|entered| answered(entered, Duration::from_millis(2)));
        }
        gate
    }

    #[tokio::test]
    async fn those_who_wait_go_in_order_as_others_end() {
        let house = House::new(|_| {});
        let gate = house.gate("usr_1", "a");
        let mut held = all_now(&gate);
        assert_eq!(held.len(), 4, "a new endpoint gets few");
        let (mut first, mut second) = (soon(&gate), soon(&gate));
        assert!(first.try_recv().is_err());
        answered(held.pop().unwrap(), Duration::from_millis(2));
        assert!(first.try_recv().is_ok());
        answered(held.pop().unwrap(), Duration::from_millis(2));
        assert!(second.try_recv().is_ok());
    }

    #[tokio::test]
    async fn once_it_has_a_backlog_all_that_comes_goes_there_until_it_has_ended() {
        let house = House::new(|_| {});
        let gate = house.gate("usr_1", "a");
        let held = all_now(&gate);
        let mut waiting = soon(&gate);
        gate.spill();
        assert_eq!(waiting.try_recv().err(), Some(oneshot::error::TryRecvError::Closed));
        drop(held);
        assert!(is_backlog(&gate), "whatever the endpoint takes");
        let turn = gate.ask_from_backlog().await.unwrap();
        assert!(is_backlog(&gate));
        drop(turn);
        gate.backlog_ended();
        drop(now(&gate));
    }

    #[tokio::test]
    async fn what_waits_for_an_unknown_endpoint_goes_into_the_backlog_when_it_is_slow() {
        let house = House::new(|_| {});
        let gate = house.gate("usr_1", "a");
        let mut held = all_now(&gate);
        let waiting: Vec<_> = (0..100).map(|_| soon(&gate)).collect();
        held[0].becomes_slow();
        for turn in waiting {
            assert!(turn.await.is_err());
        }
        assert!(is_backlog(&gate));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test]
    async fn a_crowd_of_slow_requests_leaves_quick_endpoints_their_slots() {
        let house = House::new(|config| config.slow_requests = 1_024);
        let quick = quick(&house, "usr_quick", "quick").await;
        let mut hanging = Vec::new();
        for user in 0..40 {
            for webhook in 0..20 {
                let gate = house.gate(&format!("usr_{user}"), &format!("h{user}.{webhook}"));
                hanging.extend(all_now(&gate));
            }
        }
        // The quarter of them that is for endpoints that nothing is known of.
        assert!(hanging.len() <= 256, "{}", hanging.len());
        assert!(all_now(&quick).len() >= 4);
    }

    #[tokio::test]
    async fn a_new_endpoint_finds_a_place_beside_new_ones_that_hang() {
        let house = House::new(|_| {});
        let mut hanging = Vec::new();
        for user in 0..100 {
            for webhook in 0..100 {
                let gate = house.gate(&format!("usr_{user}"), &format!("h{user}.{webhook}"));
                hanging.extend(all_now(&gate));
            }
            hanging.iter_mut().for_each(Entered::becomes_slow);
        }
        assert!(hanging.len() <= 1_536, "{}", hanging.len());
        drop(now(&house.gate("usr_new", "new")));
    }

    #[tokio::test]
    async fn what_is_for_a_silent_endpoint_does_not_wait_with_its_message() {
        let house = House::new(|_| {});
        let gate = house.gate("usr_1", "a");
        timed_out(now(&gate));
        let probe = now(&gate);
        assert!(probe.expects_long());
        assert!(is_backlog(&gate));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_is_refused_at_once_makes_no_endpoint_a_silent_one() {
        let house = House::new(|_| {});
        let gate = quick(&house, "usr_1", "a").await;
        let refused = Some(FailureKind::Network);
        now(&gate).note(&report(Duration::from_millis(1), refused));
        assert!(!now(&gate).expects_long());
        now(&gate).note(&report(Duration::from_secs(10), refused));
        assert!(now(&gate).expects_long());
    }

    #[tokio::test]
    async fn others_wait_a_moment_for_a_user_and_not_for_each_of_the_users_endpoints() {
        let house = House::new(|config| config.prefetch = 64);
        let gates = [quick(&house, "usr_1", "a").await, quick(&house, "usr_1", "b").await];
        let mut held = Vec::new();
        // Somebody else's events come, too.
        drop(now(&house.gate("usr_2", "c")));
        for (gate, waits) in gates.iter().zip([true, false]) {
            held.extend(all_now(gate));
            let mut turns: Vec<Turn> = (0..64).map(|_| gate.ask(Lane::First)).collect();
            assert_eq!(matches!(turns.pop(), Some(Turn::Full)), waits);
            gate.held_back(Duration::from_millis(100));
            assert!(is_backlog(gate), "{waits}");
        }
    }

    #[tokio::test]
    async fn users_have_equal_parts_of_a_host_whatever_number_of_webhooks_they_have() {
        let house = House::new(|config| config.per_host = 100);
        let many: Vec<_> = (0..100).map(|_| house.gate("usr_many", "shared")).collect();
        let mut held: Vec<_> = many.iter().flat_map(all_now).collect();
        assert!(held.len() <= 80, "{}", held.len());
        let other = house.gate("usr_other", "shared");
        let others = all_now(&other);
        assert_eq!(others.len(), 4);
        // What the many give back, they get back only as far as it is theirs.
        held.truncate(60);
        assert!(!all_now(&house.gate("usr_third", "shared")).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_goes_when_others_give_it_back() {
        let house = House::new(|config| config.slow_requests = 8);
        let first = house.gate("usr_1", "a");
        let held = all_now(&first);
        let (second, third) = (house.gate("usr_2", "b"), house.gate("usr_3", "c"));
        let others: Vec<Entered> = all_now(&second).into_iter().chain(all_now(&third)).collect();
        let waiting = second.ask_from_backlog();
        drop((held, others));
        let turn = tokio::time::timeout(Duration::from_secs(1), waiting).await;
        assert!(turn.is_ok_and(|turn| turn.is_ok()));
    }

    #[tokio::test]
    async fn a_webhook_with_a_pace_is_served_from_its_backlog_alone() {
        let house = House::new(|_| {});
        let gate = house.gate("usr_1", "a");
        gate.set_pace(Some(20));
        assert!(is_backlog(&gate));
        let began = Instant::now();
        for _ in 0..5 {
            drop(gate.ask_from_backlog().await.unwrap());
        }
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    }
}
