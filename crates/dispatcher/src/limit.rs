//! How many requests one endpoint is given at once, found from its own answers.
//!
//! A *delay-based AIMD* limit, as TCP Vegas and the gradient limits for services are, with what
//! the loss-based ones know for endpoints that refuse. By Little's law an endpoint with `w` workers
//! that take `s` seconds each takes `w / s` requests a second once `w` are under way. Every one
//! beyond that only stands in its queue and makes all of them slower: latency, compared with the
//! best latency, says how long that queue is.
//!
//! - **Latency** is a moving mean over about one round trip. No sample counts for more than twice
//!   the mean (Huber's estimator), so that single outliers, slow or quick, move it little.
//! - **The best latency** is a mean of the same kind, so that the shape of the jitter cancels out:
//!   that of requests which met no queue of ours, because two at most were under way since they
//!   began. While more are under way it only follows the latency down. Thus a congested endpoint
//!   cannot make its own congestion the measure (no drift), and one that got slower for good is
//!   pushed down to two requests, where its new best is found.
//! - **A probe** (BBR's `PROBE_RTT`) lowers the limit to a quarter for two round trips, every 10 s
//!   while the latency is near its target. If the latency falls, there was a queue, and the best
//!   is what the probe found, if that is less. If it does not, it is not due to us, and it becomes
//!   the best: that finds the new best of a changed endpoint and of one with heavy jitter.
//! - **Slow start**: from 4, one more for each answer while the limit is in use: it doubles for
//!   each round trip (less steeply, if an answer takes over a second). It ends where the latency
//!   is at three quarters of its target (`HyStart`). The target is twice the best, and 50 ms at
//!   least: the queue for our own processor must not throttle a quick endpoint.
//! - **Congestion avoidance**: about `sqrt(limit)` more for each round trip, and less the nearer
//!   the latency is to its target. Beyond the target the limit is multiplied by `target /
//!   latency`, but not by less than a half, and once per round trip.
//! - **Refusals** (429, 503, failed connections) cut by half of their share in what came lately
//!   (DCTCP), once per round trip. So do time-outs, which count more the lower the limit is. A share below 20 % is a
//!   matter of those requests and not of the load: it is tolerated. Refusals are quick, so that one
//!   request too many at a time is refused hundreds of times a second, and each time uses up an
//!   attempt of a delivery. Therefore the limit grows by 3 % a second only near a level that was
//!   refused (CUBIC's plateau). A refused connection costs us nothing, but an endpoint that starts
//!   again would use up an attempt of all that waits for it: it counts like any refusal.
//! - **Silence**: when a request hangs for a second and nothing was answered in the latter half of
//!   that, the limit falls to 2, and to 1 when it times out in silence (TCP's retransmission
//!   time-out). Slow start leads back. A request that hangs while others are answered is just a
//!   slow sample, and where answers are expected to take that long it is nothing special.
//!
//! What it cannot know: a queue that others than this limit keep full looks like a slow endpoint
//! (the late-comer's advantage of all delay-based limits), so several limits for one endpoint
//! that is saturated for minutes drive it to latencies of some seconds. And an endpoint that
//! refuses by rate, not by concurrency, is slowed down to one request at a time, no further.

use std::time::{Duration, Instant};

/// What a new endpoint is given.
const START: f32 = 4.0;

/// Latencies below this are as good as this one. In seconds.
const BEST_FLOOR: f32 = 0.025;

/// How far above the best latency the endpoint may be driven.
const TARGET: f32 = 2.0;

/// Up to this part of the target the limit grows by slow start.
const SLOW_START_UP_TO: f32 = 0.75;

/// The best latency follows the smoothed one down to this multiple of it: its lows are chance.
const ABOVE_LOWS: f32 = 1.1;

/// The best latency moves by this part of the way for a sample without a queue.
const BEST_STEP: f32 = 1.0 / 8.0;

/// So many requests at a time meet no queue that is worth mentioning.
const ALONE: usize = 2;

/// The weight of one request in the share of refusals: at most this,
const REFUSAL: f32 = 1.0 / 16.0;

/// and at least this where the limit is high.
const REFUSAL_OF_MANY: f32 = 1.0 / 64.0;

/// The weight of one time-out in it where the limit is low, and each costs much.
const TIME_OUT: f32 = 1.0 / 2.0;

/// A share of refusals up to this is tolerated.
const TOLERATED: f32 = 0.2;

/// Slow start leads up to this part of a level that was refused.
const RETURN_TO: f32 = 0.75;

/// Near a level that was refused the limit grows by this much a second,
const CAREFUL: f32 = 0.5;

/// by this part of itself a second if that is more,
const CAREFUL_PART: f32 = 1.0 / 32.0;

/// and by this part of itself a round trip at most.
const CAREFUL_STEP: f32 = 1.0 / 40.0;

/// So long after the last one a latency near its target leads to a probe, which lowers the limit
/// for a moment to see what latency there is then: in seconds,
const PROBE_EVERY: f32 = 10.0;

/// and in round trips, whichever is longer,
const PROBE_ROUNDS: f32 = 50.0;

/// to this part of the limit,
const PROBE_PART: f32 = 1.0 / 4.0;

/// for so many of the round trips before.
const PROBE_LASTS: f64 = 2.0;

/// A latency that stays above this part of what it was, with so many fewer under way, is not due
/// to a queue of ours.
const UNMOVED: f32 = 0.8;

/// Beyond this multiple of the end of slow start a refused level is history.
const FORGOTTEN_FROM: f32 = 1.67;

/// Answers of a second or more are slow: slow start is less steep. In seconds.
const SLOW: f32 = 1.0;

/// A request hangs once it has been under way for this long.
const HANGS_AFTER: Duration = Duration::from_secs(1);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Any answer that is not one of the others.
    Ok,
    /// 429 or 503.
    Overload,
    /// No answer in time.
    TimedOut,
    /// It could not be made: connection refused or broken, name unknown.
    Failed,
}

/// The limit of one endpoint. Small: there may be 100,000.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Times are counted from here, the first report.
    since: Option<Instant>,
    /// When the limit was last cut. In seconds, like the two after it.
    cut: f64,
    /// When the endpoint last answered anything.
    answered: f64,
    /// When more than [`ALONE`] were last under way.
    crowded: f64,
    /// When the limit was last lowered to find the best latency. In seconds, roughly.
    probed: f32,
    /// Requests, with what has been gained of the next one.
    allowed: f32,
    /// Latency without a queue, in seconds. Zero before the first answer.
    best: f32,
    /// Smoothed latency, in seconds. Zero before the first answer.
    smooth: f32,
    /// The smoothed latency when the probe that goes on began; zero when none does.
    before: f32,
    /// Below this the limit grows by slow start.
    turn: f32,
    /// Of refusals among what came lately, from 0 to 1.
    refusals: f32,
    ceiling: u16,
    /// Whether `turn` is there because of refusals.
    refused: bool,
}

impl Default for Limit {
    fn default() -> Self {
        Self::new(512)
    }
}

impl Limit {
    /// Of an endpoint that nothing is known of: never more than `ceiling`, nor than 65,535.
    pub(crate) fn new(ceiling: usize) -> Self {
        let ceiling = u16::try_from(ceiling.max(1)).unwrap_or(u16::MAX);
        Self {
            since: None,
            cut: f64::NEG_INFINITY,
            answered: f64::NEG_INFINITY,
            crowded: f64::NEG_INFINITY,
            probed: 0.0,
            allowed: START.min(f32::from(ceiling)),
            best: 0.0,
            smooth: 0.0,
            before: 0.0,
            turn: f32::INFINITY,
            refusals: 0.0,
            ceiling,
            refused: false,
        }
    }

    /// How many requests may be under way now, one at least.
    pub(crate) fn allows(&self) -> usize {
        // A whole number from 1 to 65,535, always.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let limit = self.allowed as usize;
        limit.max(1)
    }

    /// The smoothed latency; `None` before the first answer.
    pub(crate) fn typical(&self) -> Option<Duration> {
        self.is_known().then(|| Duration::from_secs_f32(self.smooth))
    }

    /// Whether the limit grows by slow start: nothing has said yet how much the endpoint takes.
    pub(crate) fn is_rising(&self) -> bool {
        self.allowed < self.turn
    }

    /// Notes that a request ended at `now` after `took`. `under_way` is how many there were, it
    /// included, when it began or when it ended.
    pub(crate) fn ended(&mut self, now: Instant, took: Duration, answer: Answer, under_way: usize) {
        let now = self.seconds(now);
        let began = now - took.as_secs_f64();
        let took = took.as_secs_f32();
        let alone = self.is_alone(now, began, under_way);
        match answer {
            Answer::Ok => {
                self.answered = now;
                self.refusals -= self.refusals * self.refusal();
                self.measure(took, alone);
                self.adapt(now, began, took, under_way);
            }
            Answer::Overload => {
                self.answered = now;
                self.refuse(now, began, self.refusal());
            }
            Answer::Failed => self.refuse(now, began, self.refusal()),
            Answer::TimedOut => {
                if self.is_silent_since(began, now) {
                    self.fall_to(now, 1.0);
                } else if began >= self.cut {
                    let weight = (2.0 / self.allowed).clamp(self.refusal(), TIME_OUT);
                    self.refuse(now, began, weight);
                }
            }
        }
    }

    /// Notes that a request has been under way for a second and goes on.
    pub(crate) fn hangs(&mut self, now: Instant, under_way: usize) {
        let now = self.seconds(now);
        let began = now - HANGS_AFTER.as_secs_f64();
        self.is_alone(now, began, under_way);
        if !self.is_known() {
            self.allowed = self.allowed.min(2.0);
        } else if self.target() >= HANGS_AFTER.as_secs_f32() {
            // It takes as long as that.
        } else if self.is_silent_since(began, now) {
            self.fall_to(now, 2.0);
        } else {
            self.measure(HANGS_AFTER.as_secs_f32(), false);
            self.yield_to_latency(now, began, HANGS_AFTER.as_secs_f32());
        }
    }

    fn seconds(&mut self, now: Instant) -> f64 {
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since).as_secs_f64()
    }

    fn is_known(&self) -> bool {
        self.smooth > 0.0
    }

    /// Whether nothing was answered since `began`, or in the latter half of the time since then
    /// if an answer takes less than that.
    fn is_silent_since(&self, began: f64, now: f64) -> bool {
        let half = (now - began) / 2.0;
        let expects_more = f64::from(self.target()) < half;
        self.answered < if expects_more { now - half } else { began }
    }

    /// Whether there were never more than a few under way since `began`.
    fn is_alone(&mut self, now: f64, began: f64, under_way: usize) -> bool {
        if under_way > ALONE {
            self.crowded = now;
        }
        self.crowded < began
    }

    /// The latency that the endpoint may be driven to, in seconds.
    fn target(&self) -> f32 {
        self.best * TARGET
    }

    /// Takes a latency into account; `alone` when no queue of ours was in it.
    fn measure(&mut self, took: f32, alone: bool) {
        let took = took.max(1e-6);
        if !self.is_known() {
            self.smooth = took;
            self.best = took.max(BEST_FLOOR);
            return;
        }
        let most = if alone { 1.0 / 4.0 } else { 1.0 / 8.0 };
        let weight = self.allowed.recip().clamp(1.0 / 32.0, most);
        self.smooth += weight * (took.min(2.0 * self.smooth.max(BEST_FLOOR)) - self.smooth);
        if alone {
            // Where both are higher, or both lower, it moves towards the nearer one.
            let (low, high) = (took.min(self.smooth), took.max(self.smooth));
            self.best += (self.best.clamp(low, high) - self.best) * BEST_STEP;
        } else {
            let lows = self.smooth * ABOVE_LOWS;
            self.best += (lows.min(self.best) - self.best) * weight / 2.0;
        }
        self.best = self.best.max(BEST_FLOOR);
    }

    /// Yields or grows after an answer to a request that began after the last cut: no other says
    /// anything about it.
    fn adapt(&mut self, now: f64, began: f64, took: f32, under_way: usize) {
        if began < self.cut {
            return;
        }
        if self.before > 0.0 {
            self.conclude();
        }
        self.yield_to_latency(now, began, took);
        if began < self.cut || !self.is_in_use(under_way) {
            return;
        }
        if self.is_probe_due(now) {
            self.probe(now);
        } else if took.max(self.smooth) <= self.target() {
            self.grow(took);
        }
    }

    fn is_near_target(&self) -> bool {
        self.smooth > self.target() * SLOW_START_UP_TO
    }

    fn is_probe_due(&self, now: f64) -> bool {
        let wait = PROBE_EVERY.max(PROBE_ROUNDS * self.smooth);
        let due = now > f64::from(self.probed + wait);
        due && self.is_near_target() && self.allowed * PROBE_PART >= 1.0
    }

    /// Empties the endpoint's queue for two round trips; slow start leads back.
    fn probe(&mut self, now: f64) {
        self.turn = self.allowed;
        self.cut_to(now, self.allowed * PROBE_PART);
        self.cut += PROBE_LASTS * f64::from(self.smooth);
        self.before = self.smooth;
        // Of an age at which seconds are lost, a probe comes some seconds early or late.
        #[expect(clippy::cast_possible_truncation)]
        let roughly = now as f32;
        self.probed = roughly;
    }

    /// Draws the conclusion from the latency that a probe found.
    fn conclude(&mut self) {
        let before = std::mem::take(&mut self.before);
        if self.smooth < before * UNMOVED {
            self.best = self.best.min(self.smooth).max(BEST_FLOOR);
        } else {
            self.best = self.best.max(self.smooth);
            self.turn = f32::INFINITY;
        }
    }

    fn is_in_use(&self, under_way: usize) -> bool {
        2 * under_way >= self.allows()
    }

    fn grow(&mut self, took: f32) {
        let headroom = 1.0 - self.smooth / self.target();
        let step = if self.allowed < self.turn && !self.is_near_target() {
            took.max(SLOW).sqrt().recip()
        } else if self.refused {
            let step = (took * (CAREFUL / self.allowed).max(CAREFUL_PART)).min(CAREFUL_STEP);
            // Less would be lost in the rounding.
            step.max(self.allowed * f32::EPSILON)
        } else {
            (2.0 * headroom).min(1.0) / self.allowed.sqrt()
        };
        self.allowed = (self.allowed + step).min(f32::from(self.ceiling));
        if self.allowed > self.turn * FORGOTTEN_FROM {
            self.refused = false;
        }
    }

    /// Cuts by how far the latency is beyond its target: both that of a request which began
    /// after the last cut and the smoothed one.
    fn yield_to_latency(&mut self, now: f64, began: f64, took: f32) {
        let latency = took.min(self.smooth);
        if latency > self.target() && began >= self.cut {
            self.cut_to(now, self.allowed * (self.target() / latency).max(0.5));
            // What even two requests at a time are too much for is unknown: it starts anew.
            self.turn =
                if self.allowed < 2.0 { f32::INFINITY } else { self.turn.min(self.allowed) };
        }
    }

    /// The weight of one request in the share of refusals.
    fn refusal(&self) -> f32 {
        self.allowed.recip().clamp(REFUSAL_OF_MANY, REFUSAL)
    }

    /// Counts a refusal, and cuts by their share.
    fn refuse(&mut self, now: f64, began: f64, weight: f32) {
        let goes_on = self.refusals > TOLERATED;
        self.refusals += (1.0 - self.refusals) * weight;
        if self.refusals <= TOLERATED || began < self.cut {
            return;
        }
        // While it goes on, what was reached before it began is remembered.
        if !goes_on || self.allowed > self.turn {
            self.turn = self.allowed * RETURN_TO;
            self.refused = true;
        }
        self.cut_to(now, self.allowed * (1.0 - self.refusals / 2.0));
    }

    /// The endpoint is silent: only so few are worth trying, until it answers.
    fn fall_to(&mut self, now: f64, limit: f32) {
        if self.allowed <= limit {
            return;
        }
        if self.allowed > self.turn {
            self.turn = self.allowed * RETURN_TO;
        }
        self.cut_to(now, limit);
    }

    fn cut_to(&mut self, now: f64, limit: f32) {
        self.allowed = limit.max(1.0);
        self.cut = now;
        self.before = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, VecDeque};

    use super::*;

    const TIMEOUT: f64 = 30.0;

    /// As many workers as there are requests.
    const UNLIMITED: usize = usize::MAX;

    /// Longer than any time-out.
    const NEVER: f64 = 1e6;

    /// Xorshift: the same numbers in every run.
    struct Dice(u64);

    impl Dice {
        /// From 0 to 1.
        fn roll(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
        }

        /// Of an exponential distribution.
        fn exponential(&mut self, mean: f64) -> f64 {
            -mean * (1.0 - self.roll()).max(1e-5).ln()
        }
    }

    /// What an endpoint makes of a request at a time: how long it works on it, and its answer.
    type Service = Box<dyn FnMut(&mut Dice, f64) -> (f64, Answer)>;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Happens {
        Arrives,
        WorkDone(usize),
        Hangs(usize),
        TimesOut(usize),
    }

    struct Request {
        sender: usize,
        began: f64,
        work: f64,
        answer: Answer,
        /// Whether it keeps a worker busy: refusals do not.
        works: bool,
        over: bool,
    }

    /// One that ended.
    struct Ended {
        at: f64,
        took: f64,
        answer: Answer,
        /// What the first sender's limit allows then.
        allows: usize,
    }

    /// An endpoint and those who send to it, in simulated seconds.
    struct World {
        start: Instant,
        now: f64,
        dice: Dice,
        service: Service,
        workers: usize,
        /// With so many at a time it refuses what comes.
        refuses_from: usize,
        limits: Vec<Limit>,
        under_way: Vec<usize>,
        /// Deliveries a second; without, there are always more waiting.
        rate: Option<f64>,
        waiting: usize,
        busy: usize,
        queue: VecDeque<usize>,
        requests: Vec<Request>,
        events: BinaryHeap<Reverse<(Duration, usize, Happens)>>,
        planned: usize,
        ended: Vec<Ended>,
    }

    impl World {
        fn new(
            workers: usize,
            service: impl FnMut(&mut Dice, f64) -> (f64, Answer) + 'static,
        ) -> Self {
            Self {
                start: Instant::now(),
                now: 0.0,
                dice: Dice(0x9E37_79B9_7F4A_7C15),
                service: Box::new(service),
                workers,
                refuses_from: usize::MAX,
                limits: vec![Limit::new(512)],
                under_way: vec![0],
                rate: None,
                waiting: 0,
                busy: 0,
                queue: VecDeque::new(),
                requests: Vec::new(),
                events: BinaryHeap::new(),
                planned: 0,
                ended: Vec::new(),
            }
        }

        /// Workers that take `seconds` for each request.
        fn of(workers: usize, seconds: f64) -> Self {
            Self::new(workers, move |_, _| (seconds, Answer::Ok))
        }

        fn sent_to_by(mut self, senders: usize) -> Self {
            self.limits = vec![Limit::new(512); senders];
            self.under_way = vec![0; senders];
            self
        }

        fn plan(&mut self, time: f64, what: Happens) {
            self.planned += 1;
            self.events.push(Reverse((Duration::from_secs_f64(time), self.planned, what)));
        }

        fn instant(&self) -> Instant {
            self.start + Duration::from_secs_f64(self.now)
        }

        /// Goes on until the time `end`.
        fn run(&mut self, end: f64) -> &mut Self {
            if self.rate.is_some() && self.requests.is_empty() {
                self.plan(0.0, Happens::Arrives);
            }
            self.send_all();
            while let Some(&Reverse((time, _, what))) = self.events.peek() {
                if time.as_secs_f64() > end {
                    break;
                }
                self.events.pop();
                self.now = time.as_secs_f64();
                self.happen(what);
                self.send_all();
            }
            self.now = end;
            self
        }

        fn happen(&mut self, what: Happens) {
            match what {
                Happens::Arrives => {
                    self.waiting += 1;
                    self.plan(self.now + self.rate.unwrap().recip(), Happens::Arrives);
                }
                Happens::WorkDone(id) => {
                    self.busy -= usize::from(self.requests[id].works);
                    self.end(id, self.requests[id].answer);
                    self.work();
                }
                Happens::Hangs(id) if !self.requests[id].over => {
                    let (now, sender) = (self.instant(), self.requests[id].sender);
                    self.limits[sender].hangs(now, self.under_way[sender]);
                }
                Happens::Hangs(_) => {}
                // The endpoint does not know, and goes on working.
                Happens::TimesOut(id) => self.end(id, Answer::TimedOut),
            }
        }

        fn send_all(&mut self) {
            for sender in 0..self.limits.len() {
                while self.under_way[sender] < self.limits[sender].allows()
                    && (self.rate.is_none() || self.waiting > 0)
                {
                    self.waiting = self.waiting.saturating_sub(1);
                    self.send(sender);
                }
            }
        }

        fn send(&mut self, sender: usize) {
            let (id, now) = (self.requests.len(), self.now);
            let (mut work, mut answer) = (self.service)(&mut self.dice, now);
            if self.busy + self.queue.len() >= self.refuses_from {
                (work, answer) = (0.001, Answer::Overload);
            }
            let works = answer == Answer::Ok;
            self.requests.push(Request { sender, began: now, work, answer, works, over: false });
            self.under_way[sender] += 1;
            self.plan(now + 1.0, Happens::Hangs(id));
            self.plan(now + TIMEOUT, Happens::TimesOut(id));
            if works {
                self.queue.push_back(id);
                self.work();
            } else {
                self.plan(now + work, Happens::WorkDone(id));
            }
        }

        fn work(&mut self) {
            while self.busy < self.workers {
                let Some(id) = self.queue.pop_front() else { return };
                self.busy += 1;
                self.plan(self.now + self.requests[id].work, Happens::WorkDone(id));
            }
        }

        fn end(&mut self, id: usize, answer: Answer) {
            let (at, now) = (self.now, self.instant());
            let request = &mut self.requests[id];
            if std::mem::replace(&mut request.over, true) {
                return;
            }
            let (sender, took) = (request.sender, at - request.began);
            let under_way = &mut self.under_way[sender];
            self.limits[sender].ended(now, Duration::from_secs_f64(took), answer, *under_way);
            *under_way -= 1;
            self.ended.push(Ended { at, took, answer, allows: self.limits[0].allows() });
        }

        fn allows(&self) -> usize {
            self.limits[0].allows()
        }

        fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &Ended> {
            self.ended.iter().filter(move |ended| ended.at > from && ended.at <= to)
        }

        fn count(&self, from: f64, to: f64, answer: Answer) -> f64 {
            let many = self.between(from, to).filter(|ended| ended.answer == answer).count();
            f64::from(u32::try_from(many).unwrap())
        }

        /// Good answers a second.
        fn throughput(&self, from: f64, to: f64) -> f64 {
            self.count(from, to, Answer::Ok) / (to - from)
        }

        fn longest(&self, from: f64, to: f64) -> f64 {
            self.between(from, to).fold(0.0, |most, ended| most.max(ended.took))
        }

        /// The mean of what was allowed when a request ended.
        fn allowed(&self, from: f64, to: f64) -> f64 {
            let mut many = 0.0;
            let sum = self.between(from, to).fold(0.0, |sum, ended| {
                many += 1.0;
                sum + f64::from(u32::try_from(ended.allows).unwrap())
            });
            sum / many
        }
    }

    #[test]
    fn it_is_small_and_a_new_endpoint_is_given_a_few() {
        assert!(size_of::<Limit>() <= 72);
        assert_eq!((Limit::default().allows(), Limit::new(3).allows()), (4, 3));
        assert_eq!(Limit::new(0).allows(), 1);
        assert_eq!(Limit::default().typical(), None);
    }

    #[test]
    fn a_quick_endpoint_is_given_hundreds_within_a_tenth_of_a_second() {
        let mut world = World::of(UNLIMITED, 0.001);
        assert!(world.limits[0].is_rising());
        assert_eq!(world.run(0.1).allows(), 512);
        assert_eq!(world.limits[0].typical(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn it_stays_below_its_ceiling() {
        let mut world = World::of(UNLIMITED, 0.001);
        world.limits = vec![Limit::new(40)];
        assert_eq!(world.run(0.1).allows(), 40);
    }

    #[test]
    fn latencies_that_our_own_processor_makes_do_not_throttle_a_quick_endpoint() {
        let mut world = World::new(UNLIMITED, |dice, at| {
            let queued = if at < 0.2 { 0.001 } else { 0.005 + 0.025 * dice.roll() };
            (queued, Answer::Ok)
        });
        world.run(1.5);
        assert!(world.allowed(0.2, 1.5) > 511.0, "{}", world.allowed(0.2, 1.5));
    }

    #[test]
    fn eight_workers_are_kept_busy_for_ten_minutes_and_no_request_waits_long() {
        let mut world = World::of(8, 0.05);
        world.run(600.0);
        for minute in 0..10 {
            let (from, to) = (f64::from(minute) * 60.0, f64::from(minute + 1) * 60.0);
            assert!(world.throughput(from, to) > 0.98 * 160.0, "{}", world.throughput(from, to));
        }
        assert!(world.longest(0.0, 600.0) < 0.3, "{}", world.longest(0.0, 600.0));
        assert!(world.longest(5.0, 600.0) < 0.2, "{}", world.longest(5.0, 600.0));
        for from in [5.0, 500.0] {
            let allowed = world.allowed(from, from + 100.0);
            assert!((14.0..18.0).contains(&allowed), "{allowed}");
        }
    }

    #[test]
    fn one_worker_of_half_a_millisecond_is_never_idle() {
        let mut world = World::of(1, 0.0005);
        world.run(3.0);
        assert!(world.throughput(0.0, 3.0) > 0.98 * 2_000.0);
        assert!(world.longest(0.5, 3.0) < 0.06, "{}", world.longest(0.5, 3.0));
    }

    #[test]
    fn one_worker_of_a_second_is_never_idle_and_its_line_stays_short() {
        let mut world = World::of(1, 1.0);
        world.run(600.0);
        assert!(world.throughput(0.0, 600.0) > 0.98);
        assert!(world.longest(0.0, 600.0) < 6.0, "{}", world.longest(0.0, 600.0));
    }

    #[test]
    fn a_new_endpoint_that_hangs_is_given_two_after_a_second_and_one_after_a_time_out() {
        let mut world = World::of(UNLIMITED, NEVER);
        assert_eq!(world.run(0.9).allows(), 4);
        assert_eq!(world.run(1.1).allows(), 2);
        assert_eq!(world.run(31.0).allows(), 1);
        assert_eq!(world.run(300.0).allows(), 1);
        assert!(world.requests.len() < 16);
    }

    #[test]
    fn an_endpoint_of_which_every_second_request_hangs_is_given_next_to_none() {
        let mut world = World::new(UNLIMITED, |dice, _| {
            (if dice.roll() < 0.5 { NEVER } else { 0.005 }, Answer::Ok)
        });
        world.run(300.0);
        assert!(world.under_way[0] < 32, "{}", world.under_way[0]);
        assert!(world.count(0.0, 300.0, Answer::TimedOut) < 100.0);
    }

    #[test]
    fn a_request_in_a_thousand_that_takes_seconds_changes_nothing() {
        let mut world = World::new(UNLIMITED, |dice, _| {
            (if dice.roll() < 0.001 { 3.0 } else { 0.05 }, Answer::Ok)
        });
        world.run(8.0);
        assert!(world.allowed(2.0, 8.0) > 500.0, "{}", world.allowed(2.0, 8.0));
    }

    #[test]
    fn an_endpoint_that_answers_after_five_seconds_is_not_taken_for_one_that_hangs() {
        let mut world = World::of(UNLIMITED, 5.0);
        world.run(90.0);
        assert_eq!(world.allows(), 512);
    }

    #[test]
    fn five_workers_of_25_seconds_are_rarely_driven_into_the_time_out() {
        let mut world = World::of(5, 25.0);
        world.run(3_600.0);
        let (answers, time_outs) =
            (world.count(0.0, 3_600.0, Answer::Ok), world.count(0.0, 3_600.0, Answer::TimedOut));
        assert!(answers > 0.75 * 720.0, "{answers}");
        assert!(time_outs < 0.1 * answers, "{time_outs} of {answers}");
        assert!(world.longest(0.0, 3_600.0) <= TIMEOUT + 1e-6);
    }

    #[test]
    fn an_endpoint_that_hangs_every_other_ten_seconds_is_back_at_once_when_it_answers() {
        let mut world = World::new(UNLIMITED, |_, at| {
            (if at % 20.0 < 10.0 { 0.05 } else { NEVER }, Answer::Ok)
        });
        world.run(11.5);
        assert_eq!(world.allows(), 2);
        // What hangs times out at 40 s, in the midst of it.
        world.run(40.6);
        assert!(world.allows() > 300, "{}", world.allows());
        assert_eq!(world.run(51.5).allows(), 2);
        assert!(world.run(80.6).allows() > 300);
    }

    #[test]
    fn an_endpoint_that_refuses_for_ten_seconds_is_given_one_and_is_back_within_a_second() {
        for answer in [Answer::Failed, Answer::Overload] {
            let mut world = World::new(UNLIMITED, move |_, at| {
                if (3.0..13.0).contains(&at) { (0.01, answer) } else { (0.05, Answer::Ok) }
            });
            assert_eq!(world.run(3.0).allows(), 512);
            assert!(world.run(3.5).allows() <= 2);
            assert_eq!(world.run(13.0).allows(), 1);
            assert!(world.run(14.0).allows() > 200, "{}", world.allows());
            assert!(world.run(25.0).allows() > 400, "{}", world.allows());
        }
    }

    #[test]
    fn an_endpoint_of_eight_workers_that_gets_ten_times_slower_and_recovers_stays_busy() {
        let slow = |at: f64| (60.0..120.0).contains(&at);
        let mut world = World::new(8, move |_, at| (if slow(at) { 0.5 } else { 0.05 }, Answer::Ok));
        world.run(240.0);
        assert!(world.throughput(75.0, 120.0) > 0.9 * 16.0, "{}", world.throughput(75.0, 120.0));
        assert!(world.throughput(125.0, 240.0) > 0.97 * 160.0);
        assert!(world.longest(60.0, 125.0) < 3.0, "{}", world.longest(60.0, 125.0));
        assert!(world.longest(150.0, 240.0) < 0.3, "{}", world.longest(150.0, 240.0));
    }

    #[test]
    fn an_endpoint_without_a_limit_that_gets_ten_times_slower_has_its_hundreds_again_soon() {
        let mut world =
            World::new(UNLIMITED, |_, at| (if at < 12.0 { 0.05 } else { 0.5 }, Answer::Ok));
        world.run(12.0 + 20.0);
        assert!(world.allows() > 400, "{}", world.allows());
    }

    #[test]
    fn one_quick_answer_in_a_hundred_does_not_make_the_others_late() {
        for (workers, most) in [(UNLIMITED, 1_024.0), (8, 16.0)] {
            let mut world = World::new(workers, |dice, _| {
                (if dice.roll() < 0.01 { 0.001 } else { 0.5 }, Answer::Ok)
            });
            world.run(120.0);
            let throughput = world.throughput(20.0, 120.0);
            assert!(throughput > 0.95 * most, "{throughput} of {most}");
        }
    }

    #[test]
    fn an_endpoint_that_refuses_what_is_beyond_ten_is_given_ten() {
        let mut world = World::of(UNLIMITED, 0.05);
        world.refuses_from = 10;
        world.run(300.0);
        let (answers, refusals) =
            (world.throughput(0.0, 300.0), world.count(0.0, 300.0, Answer::Overload));
        assert!(answers > 0.95 * 200.0, "{answers}");
        assert!(refusals < 0.01 * 300.0 * answers, "{refusals}");
        let allowed = world.allowed(10.0, 300.0);
        assert!((9.0..10.5).contains(&allowed), "{allowed}");
    }

    #[test]
    fn a_refusal_now_and_then_that_has_nothing_to_do_with_the_load_is_tolerated() {
        for (share, at_least) in [(0.02, 400.0), (0.05, 5.0)] {
            let mut world = World::new(UNLIMITED, move |dice, _| {
                if dice.roll() < share { (0.01, Answer::Overload) } else { (0.05, Answer::Ok) }
            });
            world.run(30.0);
            assert!(world.allowed(5.0, 30.0) > at_least, "{}", world.allowed(5.0, 30.0));
        }
    }

    #[test]
    fn jitter_is_not_mistaken_for_a_queue_nor_a_queue_for_jitter() {
        let mut even = World::new(8, |dice, _| (0.03 + 0.04 * dice.roll(), Answer::Ok));
        even.run(300.0);
        assert!(even.throughput(0.0, 300.0) > 0.95 * 160.0);
        assert!(even.longest(10.0, 300.0) < 0.3, "{}", even.longest(10.0, 300.0));

        let mut uneven = World::new(8, |dice, _| (dice.exponential(0.05), Answer::Ok));
        uneven.run(300.0);
        assert!(uneven.throughput(0.0, 300.0) > 0.95 * 160.0);
        assert!(uneven.longest(10.0, 300.0) < 1.5, "{}", uneven.longest(10.0, 300.0));

        let mut unlimited = World::new(UNLIMITED, |dice, _| (dice.exponential(0.2), Answer::Ok));
        unlimited.run(60.0);
        assert!(unlimited.allowed(10.0, 60.0) > 200.0, "{}", unlimited.allowed(10.0, 60.0));
    }

    #[test]
    fn three_who_send_to_the_same_workers_do_not_drive_them_into_their_time_outs() {
        let mut world = World::of(8, 0.05).sent_to_by(3);
        world.run(600.0);
        assert!(world.throughput(0.0, 600.0) > 0.97 * 160.0);
        assert!(world.longest(0.0, 600.0) < 5.0, "{}", world.longest(0.0, 600.0));
    }

    #[test]
    fn a_limit_that_is_not_in_use_does_not_grow() {
        let mut world = World::of(UNLIMITED, 0.05);
        world.rate = Some(150.0); // Little: 7.5 under way
        world.run(60.0);
        assert!((8..=24).contains(&world.allows()), "{}", world.allows());
        assert!(world.throughput(1.0, 60.0) > 149.0);
    }
}
