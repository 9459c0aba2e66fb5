//! The connections of one HTTP worker, all on its own thread: no locks, and one wake across
//! threads for a batch of events however many are told.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{Access, Verifier};
use ahash::HashMap;
use domain::UserId;
use rand::RngExt;
use tokio::sync::{mpsc, oneshot};

use crate::config::GatewayConfig;
use crate::entry::{Entry, Form};
use crate::hub::Hub;
use crate::index::Index;
use crate::outbox::Pushed;
use crate::presence::Full;
use crate::protocol::{Answer, Goodbye};
use crate::session::{Care, Session};
use crate::wheel::Wheel;

/// What the hub has a worker do.
pub(crate) enum Order {
    /// Tell these events, in this order.
    Tell(Vec<Arc<Entry>>),
    /// Close the connections of a user whose tokens were signed out.
    SignOut(UserId),
    /// Close every connection.
    Close(Goodbye),
    /// Send every connection away in even slices over `within`; answer when all have left.
    Drain { within: Duration, done: oneshot::Sender<()> },
}

/// How often a slice is sent away.
const SLICE: Duration = Duration::from_millis(100);

/// Time that each connection adds to the period in which all come back.
const EACH: Duration = Duration::from_millis(10);

/// The shortest such period.
const SOON: Duration = Duration::from_secs(1);

/// How long the last ones sent away are waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// One worker.
pub(crate) struct Worker {
    pub(crate) hub: Arc<Hub>,
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) verifier: Verifier,
    pub(crate) index: RefCell<Index>,
    number: usize,
    sessions: RefCell<HashMap<u64, Rc<Session>>>,
    wheel: RefCell<Wheel<u64>>,
    next_id: Cell<u64>,
    /// The last event that was told.
    handled: Cell<u64>,
    /// Bytes that wait at all connections.
    waiting: Rc<Cell<usize>>,
}

impl Worker {
    /// Starts a worker on this thread.
    pub(crate) fn start(hub: Arc<Hub>, config: Arc<GatewayConfig>, verifier: Verifier) -> Rc<Self> {
        let (number, orders) = hub.hire();
        let wheel = Wheel::new(config.tick(), config.ping_every, Instant::now());
        let worker = Rc::new(Self {
            hub,
            config,
            verifier,
            index: RefCell::default(),
            number,
            sessions: RefCell::default(),
            wheel: RefCell::new(wheel),
            next_id: Cell::new(0),
            handled: Cell::new(0),
            waiting: Rc::default(),
        });
        actix_web::rt::spawn(worker.clone().run(orders));
        worker
    }

    async fn run(self: Rc<Self>, mut orders: mpsc::Receiver<Order>) {
        let mut ticks = tokio::time::interval(self.config.tick());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Ticks are rare; events must not keep them from coming.
                biased;
                _ = ticks.tick() => self.tick(Instant::now()),
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
            }
        }
    }

    fn obey(self: &Rc<Self>, order: Order) {
        match order {
            Order::Tell(entries) => self.tell(&entries),
            Order::SignOut(user) => {
                for session in self.index.borrow().of_user(user.as_str()) {
                    if session.is_signed_out(self.verifier.sign_outs()) {
                        session.close(Goodbye::SIGNED_OUT);
                    }
                }
            }
            Order::Close(goodbye) => self.all().iter().for_each(|session| session.close(goodbye)),
            Order::Drain { within, done } => {
                actix_web::rt::spawn(self.clone().drain(within, done));
            }
        }
    }

    /// Lets a connection in.
    pub(crate) fn enter(
        &self,
        access: &Access,
        address: IpAddr,
        form: Form,
    ) -> Result<Rc<Session>, Full> {
        let presence = &self.hub.presence;
        let pass = presence.enter(&access.user, Some(address), self.number, &self.config)?;
        let id = self.next_id.get() + 1;
        self.next_id.set(id);
        let waiting = self.waiting.clone();
        let session =
            Rc::new(Session::new(id, access, (form, address), waiting, pass, &self.config));
        self.index.borrow_mut().enter(&session);
        self.sessions.borrow_mut().insert(id, session.clone());
        session.welcome(&self.config);
        self.care(&session, Instant::now());
        self.hub.metrics.opened(form);
        Ok(session)
    }

    /// Forgets a connection whose socket is gone.
    pub(crate) fn leave(&self, session: &Session) {
        self.index.borrow_mut().leave(session);
        self.sessions.borrow_mut().remove(&session.id);
        let code = session.closed().map_or(0, |goodbye| goodbye.code);
        self.hub.metrics.left(session.form, code);
        tracing::debug!(user.id = %session.user, code, "a connection ended");
    }

    /// The last event that was told here.
    pub(crate) fn handled(&self) -> u64 {
        self.handled.get()
    }

    fn tell(&self, entries: &[Arc<Entry>]) {
        let (mut told, mut slow) = (0, Vec::new());
        for entry in entries {
            self.index.borrow().watchers(entry, |session| {
                match session.tell(entry, &self.config) {
                    Pushed::Waiting => told += 1,
                    Pushed::TooSlow => slow.push(session.clone()),
                    Pushed::Closed => {}
                }
            });
            self.handled.set(entry.seq);
            for session in slow.drain(..) {
                self.drop_slow(&session);
            }
        }
        self.hub.metrics.told(told);
        while self.waiting.get() > self.config.worker_queue_bytes {
            let Some(longest) = self.longest() else { break };
            self.drop_slow(&longest);
        }
    }

    /// Closes a connection that does not keep up. It costs nothing more from here on, although
    /// its socket may take a while to take the goodbye.
    fn drop_slow(&self, session: &Rc<Session>) {
        session.close(Goodbye::TOO_SLOW);
        self.index.borrow_mut().leave(session);
    }

    fn longest(&self) -> Option<Rc<Session>> {
        let sessions = self.sessions.borrow();
        let open = sessions.values().filter(|session| session.is_open());
        open.max_by_key(|session| session.waiting()).cloned()
    }

    fn all(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }

    fn tick(&self, now: Instant) {
        let due = self.wheel.borrow_mut().advance(now);
        for id in due {
            let session = self.sessions.borrow().get(&id).cloned();
            if let Some(session) = session.filter(|session| session.is_open()) {
                self.care(&session, now);
            }
        }
        self.hub.note_queued(self.number, self.waiting.get());
    }

    fn care(&self, session: &Rc<Session>, now: Instant) {
        match session.care(now, &self.config) {
            Care::Until(at) => self.wheel.borrow_mut().insert(at, session.id),
            Care::Close(Goodbye::TOO_SLOW) => self.drop_slow(session),
            Care::Close(goodbye) => session.close(goodbye),
        }
    }

    async fn drain(self: Rc<Self>, within: Duration, done: oneshot::Sender<()>) {
        let leaving = self.all();
        let slices = (within.as_millis() / SLICE.as_millis()).max(1);
        let size = leaving.len().div_ceil(usize::try_from(slices).unwrap_or(usize::MAX)).max(1);
        // Few may come back at once; thousands take their time.
        let spread = EACH.saturating_mul(u32::try_from(leaving.len()).unwrap_or(u32::MAX));
        let spread = spread.clamp(SOON, within.max(SOON));
        let spread = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        let mut ticks = tokio::time::interval(SLICE);
        for slice in leaving.chunks(size) {
            ticks.tick().await;
            for session in slice {
                let after_ms = rand::rng().random_range(0..spread);
                session.say(&Answer::Reconnect { after_ms }, None, &self.config);
                session.close(Goodbye::GOING_AWAY);
            }
        }
        drop(leaving);
        let deadline = Instant::now() + FAREWELL;
        while !self.sessions.borrow().is_empty() && Instant::now() < deadline {
            ticks.tick().await;
        }
        // Whoever waited for it may have gone.
        done.send(()).ok();
    }
}
