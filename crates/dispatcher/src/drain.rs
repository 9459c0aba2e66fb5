//! Drains one backlog: in the order of its places, as fast as its endpoint takes it. What was read
//! and cannot go within a second is forgotten and read again: memory holds no backlog.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::BacklogChange;
use domain::{DeliveryId, UserId, whole_seconds};
use store::{BacklogKey, BacklogPage, BacklogPlace, Backlogged, ClaimedBacklog};
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::Context;
use crate::attempts::{self, Job};
use crate::backlog::{MOST_OF_A_PAGE, Row, Tenure, UNIT};
use crate::claims::Held;
use crate::gate::{Entered, Gate};
use crate::intake::patiently;
use crate::slots::Lane;
use crate::subscribers::Subscriber;

/// Rows of a page, at first, at least and at most.
const ROWS: u64 = 16;
const FEWEST: u64 = 4;
const MOST: u64 = 256;

/// A page that was sent in this time is followed by a larger one.
const QUICK_PAGE: Duration = Duration::from_millis(500);

/// How long a page may wait in memory.
const KEPT: Duration = Duration::from_secs(1);

/// How often reading begins anew at the head: rows of others may be written a little late.
const FROM_THE_HEAD: Duration = Duration::from_secs(5);

/// How long a backlog with nothing to send is left alone when no news comes.
const WITHOUT_NEWS: Duration = Duration::from_secs(10);

/// A webhook with a limit a second is held by one dispatcher for at least this long after its last
/// delivery: another one would begin to count anew.
const PACED: Duration = Duration::from_millis(1_500);

/// How often those are looked for that have outlived their schedule.
const OUTLIVED_EVERY: Duration = Duration::from_secs(30);

/// Of those, so many are ended together.
const OUTLIVED: u64 = 100;

/// The deliveries of one backlog that are under way and not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    ids: Mutex<HashSet<DeliveryId>>,
    /// Told when the backlog has grown, and when one of them is recorded.
    pub(crate) news: Notify,
    /// The backlog has begun anew, perhaps after its end was written down here.
    pub(crate) begun_anew: AtomicBool,
}

impl UnderWay {
    fn begin(self: &Arc<Self>, key: BacklogKey, place: BacklogPlace) -> Row {
        self.lock().insert(place.id);
        let under_way = self.clone();
        let BacklogPlace { place, id } = place;
        Row { under_way, id, partition: key.partition, place, unrecorded: None }
    }

    pub(crate) fn remove(&self, id: &DeliveryId) {
        self.lock().remove(id);
        self.news.notify_one();
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn contains(&self, id: &DeliveryId) -> bool {
        self.lock().contains(id)
    }

    fn ids(&self) -> HashSet<DeliveryId> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<DeliveryId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The work on one backlog.
pub(crate) struct Drain {
    context: Arc<Context>,
    tenure: Arc<Tenure>,
    key: BacklogKey,
    user: UserId,
    under_way: Arc<UnderWay>,
    page: Page,
    /// What the store knows of its endpoint's silence.
    silent_since: Option<OffsetDateTime>,
    outlived_at: Option<Instant>,
    sent_at: Option<Instant>,
}

/// What was read and not sent yet.
struct Page {
    left: VecDeque<Backlogged>,
    /// After which place reading goes on; at the head where `None`.
    position: Option<BacklogPlace>,
    rows: u64,
    read_at: Instant,
    head_at: Instant,
    room: Option<OwnedSemaphorePermit>,
}

impl Drain {
    pub(crate) fn new(
        context: Arc<Context>,
        tenure: Arc<Tenure>,
        claimed: ClaimedBacklog,
        under_way: Arc<UnderWay>,
    ) -> Self {
        let ClaimedBacklog { key, user, silent_since } = claimed;
        let page = Page::new();
        Self {
            context,
            tenure,
            key,
            user,
            under_way,
            page,
            silent_since,
            outlived_at: None,
            sent_at: None,
        }
    }

    /// Until the backlog has ended, the lease is lost, or the dispatcher stops.
    pub(crate) async fn run(mut self) {
        let (context, tenure) = (self.context.clone(), self.tenure.clone());
        tokio::select! {
            biased;
            () = context.stop.cancelled() => {}
            () = tenure.lost.cancelled() => {}
            () = self.drain() => {}
        }
        self.context.backlogs.ended(&self.key, &self.user, &self.under_way, &self.tenure);
    }

    async fn drain(&mut self) {
        if let Some(subscriber) = self.subscriber().await {
            self.take_over(&subscriber.gate);
        }
        loop {
            let subscriber = self.subscriber().await;
            if let Some(subscriber) = &subscriber {
                self.tell_silence(&subscriber.gate).await;
            }
            let found = match &subscriber {
                None => self.cancel().await,
                Some(subscriber) if self.key.partition != 0 => self.send_in_order(subscriber).await,
                Some(subscriber) => self.send(subscriber).await,
            };
            let gate = subscriber.as_ref().map(|subscriber| &*subscriber.gate);
            if found == Found::Nothing && self.has_ended(gate).await {
                return;
            }
        }
    }

    fn take_over(&self, gate: &Gate) {
        if self.key.partition == 0 {
            gate.has_backlog(false);
        }
        if let Some(since) = self.silent_since {
            let ago = Duration::try_from(self.context.clock.now() - since).unwrap_or_default();
            gate.is_silent(Instant::now().checked_sub(ago).unwrap_or_else(Instant::now));
        }
    }

    /// The webhook, if it is to be delivered to.
    async fn subscriber(&self) -> Option<Arc<Subscriber>> {
        let find = || self.context.subscribers.find(&self.user, self.key.webhook);
        // At a stop this is dropped before it comes back.
        patiently(&self.context, find).await.flatten()
    }

    /// Sends the next one as soon as its endpoint takes it.
    async fn send(&mut self, subscriber: &Arc<Subscriber>) -> Found {
        let began = Instant::now();
        let Some(entered) = self.enter(&subscriber.gate).await else { return Found::Waited };
        // It may have been changed meanwhile.
        if began.elapsed() >= KEPT && self.is_another(subscriber).await {
            return Found::Waited;
        }
        let Some(next) = self.next().await else { return Found::Nothing };
        if !self.tenure.is_sure() {
            return Found::Waited;
        }
        self.begin(next, subscriber, entered).await;
        Found::Something
    }

    async fn is_another(&self, subscriber: &Arc<Subscriber>) -> bool {
        let now = self.subscriber().await;
        now.is_none_or(|now| !Arc::ptr_eq(&now.gate, &subscriber.gate))
    }

    /// Waits for the turn. What was read is forgotten when that takes long.
    async fn enter(&mut self, gate: &Arc<Gate>) -> Option<Entered> {
        let mut turn = gate.ask_from_backlog();
        if let Ok(entered) = tokio::time::timeout(KEPT, &mut turn).await {
            return entered.ok();
        }
        self.page.forget();
        loop {
            match tokio::time::timeout(WITHOUT_NEWS, &mut turn).await {
                Ok(entered) => return entered.ok(),
                Err(_) => gate.pump(),
            }
        }
    }

    /// Sends the head once the one before it has ended and its time has come.
    async fn send_in_order(&mut self, subscriber: &Arc<Subscriber>) -> Found {
        if !self.under_way.is_empty() {
            self.under_way.news.notified().await;
            return Found::Waited;
        }
        self.page.forget();
        let Some(head) = self.next().await else { return Found::Nothing };
        let due = head.task.not_before;
        let left = due.and_then(|due| Duration::try_from(due - self.context.clock.now()).ok());
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            // Looked at again meanwhile: its webhook may be deleted, or it may be redelivered.
            tokio::time::sleep(left.min(WITHOUT_NEWS)).await;
            return Found::Waited;
        }
        let Ok(entered) = subscriber.gate.ask_from_backlog().await else { return Found::Waited };
        if !self.tenure.is_sure() || self.is_another(subscriber).await {
            return Found::Waited;
        }
        self.begin(head, subscriber, entered).await;
        Found::Something
    }

    async fn begin(&mut self, next: Backlogged, subscriber: &Arc<Subscriber>, entered: Entered) {
        let mut row = self.under_way.begin(self.key, next.place);
        // Those that were sent wait for the store.
        row.unrecorded = self.context.backlogs.unrecorded.clone().acquire_owned().await.ok();
        self.sent_at = Some(Instant::now());
        let held = Held::Row(row);
        let subscriber = subscriber.clone();
        let job = Job { task: next.task, subscriber, entered, held, lane: Lane::Later };
        self.context.tasks.spawn(attempts::attempt(self.context.clone(), job));
    }

    /// Ends those of a webhook that is deleted or switched off.
    async fn cancel(&mut self) -> Found {
        let Some(next) = self.next().await else { return Found::Nothing };
        let held = Held::Row(self.under_way.begin(self.key, next.place));
        attempts::cancel(&self.context, held, &next.task).await;
        Found::Something
    }

    /// Whether the backlog has ended; otherwise waits for news of it.
    async fn has_ended(&mut self, gate: Option<&Gate>) -> bool {
        // What comes now goes straight away where it need not wait: otherwise it would be here at
        // once, and the backlog for ever.
        if let Some(gate) = gate.filter(|gate| gate.is_quick() || self.under_way.is_empty()) {
            gate.backlog_ended();
        }
        if !self.under_way.is_empty() {
            tokio::time::timeout(WITHOUT_NEWS, self.under_way.news.notified()).await.ok();
            return false;
        }
        let paced = gate.is_some_and(Gate::is_paced);
        if let Some(sent) = self.sent_at.filter(|sent| paced && sent.elapsed() < PACED) {
            let left = PACED.saturating_sub(sent.elapsed());
            tokio::time::timeout(left, self.under_way.news.notified()).await.ok();
            return false;
        }
        let end = || self.context.store.end_backlog(self.key, &self.tenure.holder);
        let Some(ended) = patiently(&self.context, end).await else { return true };
        if ended {
            self.context.backlogs.announcer.tell(self.key, BacklogChange::Ended);
            return true;
        }
        // Something has come, or what is there cannot be read.
        tokio::time::timeout(KEPT, self.under_way.news.notified()).await.ok();
        false
    }

    /// Writes down whether the endpoint is silent, and ends what has waited for it too long.
    async fn tell_silence(&mut self, gate: &Gate) {
        let now = self.context.clock.now();
        let since = gate.silent_since().map(|since| now - since.elapsed());
        if since.is_some() != self.silent_since.is_some() {
            let mark = || self.context.store.mark_silent(self.key.webhook, since);
            patiently(&self.context, mark).await;
            self.silent_since = since;
        }
        let due = self.outlived_at.is_none_or(|at| at.elapsed() >= OUTLIVED_EVERY);
        if let Some(since) = self.silent_since.filter(|_| due) {
            self.outlived_at = Some(Instant::now());
            self.end_outlived(now, since).await;
        }
    }

    async fn end_outlived(&self, now: OffsetDateTime, since: OffsetDateTime) {
        let before = now - self.context.give_up_after;
        loop {
            let find = || self.context.store.outlived(self.key, before, OUTLIVED);
            let Some(found) = patiently(&self.context, find).await else { return };
            let full = found.len() as u64 == OUTLIVED;
            for old in found {
                if self.under_way.contains(&old.place.id) {
                    continue;
                }
                let reason = format!("endpoint did not answer since {}", whole_seconds(since));
                let held = Held::Row(self.under_way.begin(self.key, old.place));
                attempts::give_up(&self.context, held, &old.task, reason).await;
            }
            if !full {
                return;
            }
            while !self.under_way.is_empty() {
                self.under_way.news.notified().await;
            }
        }
    }

    /// The next one that is not under way.
    async fn next(&mut self) -> Option<Backlogged> {
        loop {
            while let Some(next) = self.page.left.pop_front() {
                if !self.under_way.contains(&next.place.id) {
                    return Some(next);
                }
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// Reads a page; false when there is nothing that is not under way.
    async fn read(&mut self) -> bool {
        self.page.adapt();
        loop {
            let from = self.page.position;
            let read = self.read_from(from).await;
            let empty = read.deliveries.is_empty();
            self.page.position = read.last.filter(|_| read.full).or(from.filter(|_| read.full));
            self.page.left = read.deliveries.into();
            match (empty, read.full, from) {
                (false, ..) => return true,
                // All that was read is under way, or cannot be read.
                (true, true, _) => {}
                (true, false, Some(_)) => self.page.position = None,
                (true, false, None) => return false,
            }
        }
    }

    async fn read_from(&mut self, from: Option<BacklogPlace>) -> BacklogPage {
        self.page.room = None;
        let units = u32::try_from(MOST_OF_A_PAGE).unwrap_or(u32::MAX);
        let room = self.context.backlogs.room.clone().acquire_many_owned(units).await;
        let _turn = self.context.backlogs.reading.acquire().await;
        let under_way = self.under_way.ids();
        // Those at the head are under way.
        let passed = if from.is_none() { under_way.len() as u64 } else { 0 };
        let limit = self.page.rows + passed;
        let bytes = (MOST_OF_A_PAGE * UNIT) as u64;
        let read = || self.context.store.backlog_page(self.key, from, limit, bytes, &under_way);
        let read = patiently(&self.context, read).await.unwrap_or_default();
        if let Ok(mut room) = room {
            let used: usize =
                read.deliveries.iter().map(|d| d.task.event.payload.len() + UNIT).sum();
            let rest = room.num_permits().saturating_sub(used.div_ceil(UNIT));
            drop(room.split(rest));
            self.page.room = Some(room);
        }
        read
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Something,
    /// Nothing that is not under way.
    Nothing,
    /// It took long: look at everything anew.
    Waited,
}

impl Page {
    fn new() -> Self {
        let now = Instant::now();
        let left = VecDeque::new();
        Self { left, position: None, rows: ROWS, read_at: now, head_at: now, room: None }
    }

    /// What was read is read again.
    fn forget(&mut self) {
        if !self.left.is_empty() {
            self.left.clear();
            self.rows = (self.rows / 2).max(FEWEST);
        }
        self.position = None;
        self.room = None;
    }

    /// Prepares for the next page.
    fn adapt(&mut self) {
        let now = Instant::now();
        if now - self.read_at < QUICK_PAGE {
            self.rows = (self.rows * 2).min(MOST);
        }
        self.read_at = now;
        if now - self.head_at >= FROM_THE_HEAD {
            (self.head_at, self.position) = (now, None);
        }
    }
}
