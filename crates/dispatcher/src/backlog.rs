//! The backlogs that this dispatcher drains. A webhook that cannot keep up has one in the store; one
//! dispatcher at a time holds it, by a lease of its own for all that it holds. Whoever adds to a
//! backlog says so to the others; a backlog whose dispatcher is gone is taken over.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::{BacklogChange, ControlMessage, SharedBroker};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use domain::{DeliveryId, UserId};
use store::{BacklogKey, ClaimedBacklog, Outcome, PlacedDelivery, Store, StoreError, Waits};
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::announcing::Announcer;
use crate::drain::{Drain, UnderWay};
use crate::{Context, DispatcherConfig};

/// So much of the lease is left when it is taken for lost: statements may take this long.
const MARGIN: Duration = Duration::from_secs(2);

/// Backlogs taken over together.
const TOGETHER: u64 = 500;

/// Pages read at a time.
const READING: usize = 4;

/// In every so many rounds it is looked for backlogs that are held and not drained.
const FORGOTTEN_EVERY: u32 = 6;

/// One unit of the bytes in memory.
pub(crate) const UNIT: usize = 1_024;

/// The same backlog's growth is announced once in this time.
const GROWS_EVERY: Duration = Duration::from_millis(200);

/// Backlogs whose growth was announced a moment ago, at most.
const ANNOUNCED: usize = 10_000;

/// The time in which this dispatcher's lease has not ended.
pub(crate) struct Tenure {
    pub(crate) holder: Arc<str>,
    pub(crate) lost: CancellationToken,
    /// `None` before the lease was ever had.
    until: Mutex<Option<Instant>>,
}

impl Tenure {
    fn begin() -> Arc<Self> {
        let holder = Uuid::now_v7().to_string().into();
        Arc::new(Self { holder, lost: CancellationToken::new(), until: Mutex::default() })
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lasts_until(&self, end: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Whether nobody else can have taken over.
    pub(crate) fn is_sure(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }
}

type Current = Arc<Mutex<Arc<Tenure>>>;

fn current(tenure: &Current) -> Arc<Tenure> {
    tenure.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What the recorder has written.
pub(crate) struct News {
    key: BacklogKey,
    user: UserId,
    /// Whose backlog it is, when it has just begun.
    begun: Option<Arc<str>>,
}

/// What the recorder tells of backlogs.
#[derive(Clone)]
pub(crate) struct Reporter {
    tenure: Current,
    news: mpsc::UnboundedSender<News>,
}

impl Reporter {
    /// Who holds a backlog that begins now; nobody while the lease is not sure.
    pub(crate) fn holder(&self) -> Option<Arc<str>> {
        let tenure = current(&self.tenure);
        tenure.is_sure().then(|| tenure.holder.clone())
    }

    /// Tells which backlogs have begun and which have grown.
    pub(crate) fn recorded(
        &self,
        outcomes: &[Outcome],
        begun: &[BacklogKey],
        holder: Option<&Arc<str>>,
    ) {
        let waiting = outcomes.iter().filter_map(|outcome| {
            let Waits::InBacklog { partition, .. } = outcome.waits else { return None };
            let key = BacklogKey { webhook: outcome.webhook, partition };
            Some((key, &outcome.event.user))
        });
        self.tell(waiting, begun, holder);
    }

    /// The same of deliveries of ordered webhooks.
    pub(crate) fn placed(
        &self,
        placed: &[PlacedDelivery],
        begun: &[BacklogKey],
        holder: Option<&Arc<str>>,
    ) {
        let key =
            |one: &PlacedDelivery| BacklogKey { webhook: one.webhook, partition: one.partition };
        self.tell(placed.iter().map(|one| (key(one), &one.event.user)), begun, holder);
    }

    fn tell<'a>(
        &self,
        waiting: impl Iterator<Item = (BacklogKey, &'a UserId)>,
        begun: &[BacklogKey],
        holder: Option<&Arc<str>>,
    ) {
        let mut told = HashSet::new();
        for (key, user) in waiting.filter(|(key, _)| told.insert(*key)) {
            let begun = holder.filter(|_| begun.contains(&key)).cloned();
            // Nobody hears it while the process stops.
            self.news.send(News { key, user: user.clone(), begun }).ok();
        }
    }
}

/// The backlogs of a dispatcher.
pub(crate) struct Backlogs {
    tenure: Current,
    reporter: Reporter,
    pub(crate) announcer: Announcer,
    lease: Duration,
    held: DashMap<BacklogKey, Arc<UnderWay>>,
    last_place: AtomicI64,
    claim: Notify,
    /// For deliveries of backlogs that were begun and are not recorded, but for slow ones.
    pub(crate) unrecorded: Arc<Semaphore>,
    /// Bytes of pages in memory, in units.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) reading: Semaphore,
    /// How large those two are.
    sizes: (usize, usize),
}

impl Backlogs {
    /// With the news that [`run`] works on.
    pub(crate) fn new(
        config: &DispatcherConfig,
        announcer: Announcer,
    ) -> (Self, mpsc::UnboundedReceiver<News>) {
        // As many as outcomes wait to be told, which the recorder bounds.
        let (news, told) = mpsc::unbounded_channel();
        let tenure: Current = Arc::new(Mutex::new(Tenure::begin()));
        let unrecorded = usize::from(config.deliver_prefetch.max(1));
        let room = (config.backlog_bytes / UNIT).max(MOST_OF_A_PAGE);
        let backlogs = Self {
            announcer,
            reporter: Reporter { tenure: tenure.clone(), news },
            tenure,
            lease: config.backlog_lease.max(4 * MARGIN),
            held: DashMap::new(),
            last_place: AtomicI64::new(0),
            claim: Notify::new(),
            unrecorded: Arc::new(Semaphore::new(unrecorded)),
            room: Arc::new(Semaphore::new(room)),
            reading: Semaphore::new(READING),
            sizes: (unrecorded, room),
        };
        (backlogs, told)
    }

    pub(crate) fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    pub(crate) fn holder(&self) -> Arc<str> {
        current(&self.tenure).holder.clone()
    }

    /// The next place in any backlog: microseconds, each later than the one before.
    pub(crate) fn next_place(&self) -> i64 {
        let now = i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000);
        let now = now.unwrap_or(i64::MAX);
        let last = self
            .last_place
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(now.max(last + 1)));
        now.max(last.unwrap_or_default() + 1)
    }

    /// Looks for backlogs to take over at once.
    pub(crate) fn claim_soon(&self) {
        self.claim.notify_one();
    }

    /// How much is used of what all backlogs share, and how large it is.
    pub(crate) fn rooms_used(&self) -> [(&'static str, (usize, usize)); 2] {
        let (unrecorded, room) = self.sizes;
        let used =
            |size: usize, free: &Semaphore| (size - free.available_permits().min(size), size);
        [
            ("unrecorded_of_backlogs", used(unrecorded, &self.unrecorded)),
            ("kibibytes_of_backlogs", used(room, &self.room)),
        ]
    }

    /// How many are drained here.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// A drain has ended, by itself or with its tenure. If the backlog has begun anew just before,
    /// nobody drains it: it is told of once more.
    pub(crate) fn ended(
        &self,
        key: &BacklogKey,
        user: &UserId,
        under_way: &Arc<UnderWay>,
        tenure: &Tenure,
    ) {
        self.held.remove_if(key, |_, known| Arc::ptr_eq(known, under_way));
        if under_way.begun_anew.load(Ordering::Acquire) {
            let begun = Some(tenure.holder.clone());
            // Nobody hears it while the process stops.
            self.reporter.news.send(News { key: *key, user: user.clone(), begun }).ok();
        }
    }
}

/// The most that one page may take, in units.
pub(crate) const MOST_OF_A_PAGE: usize = 1_024;

/// Keeps the lease, takes over what is free, and starts draining, until the stop.
pub(crate) async fn run(context: Arc<Context>, mut news: mpsc::UnboundedReceiver<News>) {
    let mut keeper = Keeper {
        context: context.clone(),
        announced: Announced::default(),
        away: false,
        is_alone: !context.broker.is_shared(),
        rounds: 0,
    };
    let mut tick = tokio::time::interval(context.backlogs.lease / 3);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return,
            _ = tick.tick() => keeper.round().await,
            () = context.backlogs.claim.notified() => keeper.round().await,
            Some(one) = news.recv() => keeper.hear(one),
        }
    }
}

/// Lets others have what this dispatcher held.
pub(crate) async fn release((store, broker, holder): (Store, SharedBroker, Arc<str>)) {
    match store.release_backlogs(&holder).await {
        Ok(0) => {}
        Ok(_) => drop(broker.announce(&ControlMessage::BacklogsReleased).await),
        Err(error) => tracing::warn!("the backlogs go on elsewhere when their lease ends: {error}"),
    }
}

/// What another dispatcher, or this one, announces of a backlog.
pub(crate) fn heard(context: &Context, key: BacklogKey, change: BacklogChange) {
    if let Some(held) = context.backlogs.held.get(&key) {
        return held.news.notify_one();
    }
    let Some(gate) = context.slots.known_gate(key.webhook) else { return };
    match change {
        BacklogChange::Ended => gate.backlog_ended(),
        BacklogChange::Begun | BacklogChange::Grew => gate.has_backlog(true),
    }
}

struct Keeper {
    context: Arc<Context>,
    announced: Announced,
    away: bool,
    /// No other dispatcher can be at work: whoever was there before is gone.
    is_alone: bool,
    rounds: u32,
}

/// When the growth of which backlog was announced.
#[derive(Default)]
struct Announced(HashMap<BacklogKey, Instant>);

impl Announced {
    fn is_due(&mut self, key: BacklogKey) -> bool {
        let now = Instant::now();
        if self.0.len() >= ANNOUNCED {
            self.0.retain(|_, at| now - *at < GROWS_EVERY);
        }
        let due = self.0.get(&key).is_none_or(|at| now - *at >= GROWS_EVERY);
        if due {
            self.0.insert(key, now);
        }
        due
    }
}

impl Keeper {
    fn hear(&mut self, news: News) {
        let News { key, user, begun } = news;
        let tenure = current(&self.context.backlogs.tenure);
        match begun {
            Some(holder) if holder == tenure.holder => {
                self.start(ClaimedBacklog { key, user, silent_since: None }, &tenure);
                self.context.backlogs.announcer.tell(key, BacklogChange::Begun);
            }
            _ => {
                if let Some(held) = self.context.backlogs.held.get(&key) {
                    return held.news.notify_one();
                }
                if let Some(gate) = self.context.slots.known_gate(key.webhook) {
                    gate.has_backlog(true);
                }
                if self.announced.is_due(key) {
                    self.context.backlogs.announcer.tell(key, BacklogChange::Grew);
                }
            }
        }
    }

    fn start(&self, claimed: ClaimedBacklog, tenure: &Arc<Tenure>) {
        let under_way = Arc::new(UnderWay::default());
        match self.context.backlogs.held.entry(claimed.key) {
            Entry::Occupied(held) => {
                held.get().begun_anew.store(true, Ordering::Release);
                return held.get().news.notify_one();
            }
            Entry::Vacant(place) => drop(place.insert(under_way.clone())),
        }
        let drain = Drain::new(self.context.clone(), tenure.clone(), claimed, under_way);
        self.context.tasks.spawn(drain.run());
    }

    async fn round(&mut self) {
        match self.keep_and_claim().await {
            Ok(()) => self.away = false,
            Err(error) if !std::mem::replace(&mut self.away, true) => {
                tracing::warn!("backlogs were not looked for: {error}");
            }
            Err(_) => {}
        }
    }

    async fn keep_and_claim(&mut self) -> Result<(), StoreError> {
        let backlogs = &self.context.backlogs;
        let tenure = self.sure_tenure();
        let asked = Instant::now();
        let name = format!("dispatcher/{}", tenure.holder);
        let store = &self.context.store;
        if !store.acquire_lease(&name, &tenure.holder, backlogs.lease).await? {
            self.lose(&tenure);
            return Ok(());
        }
        // It may have ended while it was renewed; somebody else may have taken over in between.
        if tenure.until().is_some_and(|until| until < Instant::now()) {
            self.lose(&tenure);
            return Ok(());
        }
        tenure.lasts_until(asked + backlogs.lease - MARGIN);
        if self.is_alone {
            store.take_over(&tenure.holder).await?;
            self.is_alone = false;
        }
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds.is_multiple_of(FORGOTTEN_EVERY) {
            // What was claimed while the answer was lost.
            for one in store.held_backlogs(&tenure.holder).await? {
                self.start(one, &tenure);
            }
        }
        loop {
            let claimed = store.claim_backlogs(&tenure.holder, TOGETHER).await?;
            let full = claimed.len() as u64 == TOGETHER;
            for one in claimed {
                self.start(one, &tenure);
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// The tenure that goes on, or a new one after one that may have ended.
    fn sure_tenure(&self) -> Arc<Tenure> {
        let tenure = current(&self.context.backlogs.tenure);
        if tenure.until().is_some_and(|until| until < Instant::now()) {
            self.lose(&tenure);
        }
        current(&self.context.backlogs.tenure)
    }

    fn lose(&self, tenure: &Arc<Tenure>) {
        tracing::warn!("the lease of this dispatcher's backlogs has ended: they begin anew");
        let next = Tenure::begin();
        *self.context.backlogs.tenure.lock().unwrap_or_else(PoisonError::into_inner) = next;
        tenure.lost.cancel();
        self.context.backlogs.held.clear();
    }
}

/// A delivery's place in a backlog that is drained here, kept until its outcome is recorded: until
/// then it is found in the store, and must not be sent again.
pub(crate) struct Row {
    pub(crate) under_way: Arc<UnderWay>,
    pub(crate) id: DeliveryId,
    pub(crate) partition: i64,
    pub(crate) place: i64,
    /// Among those that a kill may double; given back when the attempt turns out to be slow.
    pub(crate) unrecorded: Option<OwnedSemaphorePermit>,
}

impl Row {
    /// Whether those behind it wait until it has ended.
    pub(crate) fn is_ordered(&self) -> bool {
        self.partition != 0
    }

    /// What it waits for when it keeps its place.
    pub(crate) fn waits(&self) -> Waits {
        Waits::InBacklog { partition: self.partition, place: self.place }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.under_way.remove(&self.id);
    }
}
