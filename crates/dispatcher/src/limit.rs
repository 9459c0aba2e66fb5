//! How many requests one endpoint is given at once, found from its own answers.
//!
//! A *delay-based AIMD* limit, as TCP Vegas and Netflix's gradient limits are, with what the
//! loss-based ones know for endpoints that refuse. By Little's law an endpoint with `w` workers
//! of a service time `s` takes `w / s` requests a second once `w` are under way: every one beyond
//! that only stands in its queue and makes all of them slower. So latency against the best
//! latency says how long the queue is.
//!
//! - **Latency** is smoothed by a mean that gives no sample more than twice its own size (Huber's
//!   estimator), so that single slow or quick answers do not count. The *best* latency is the same
//!   mean of samples that met no queue of ours: those taken while at most two requests were under
//!   way. Otherwise it only follows the smoothed latency down, and up where that is at most a
//!   quarter above it. A full limit keeps the latency near twice the best, which is outside of
//!   that band: the best does not drift while the endpoint is congested, and an endpoint that got
//!   slower for good is pushed down to two requests, where its new best is found. Best and
//!   smoothed latency are means of the same kind, so the shape of the jitter cancels out.
//! - **Slow start**: from 4, one more for each answer (half of one, if an answer takes over a
//!   second) while the limit is in use: it doubles for each round trip. It ends where the latency
//!   is at three quarters of its target (`HyStart`), which is twice the best, and 50 ms at least:
//!   a quick endpoint must not be throttled by our own processor's queue.
//! - **Congestion avoidance**: about `sqrt(limit)` more for each round trip, and less the nearer
//!   the latency is to its target. Beyond the target the limit is multiplied by `target /
//!   latency`, but not by less than a half, once per round trip: only a request that began after
//!   the last cut says anything about it.
//! - **Refusals** (429, 503, failed connections) and time-outs cut by their share in what came
//!   lately, like DCTCP, at most to the half, once per round trip. A share below 15 % is a matter
//!   of those requests and not of the load, and is tolerated. Refusals are quick, so one request
//!   too many at a time refuses hundreds a second, and each uses up an attempt of its delivery:
//!   near a level that was refused the limit grows by 3 % a second only (CUBIC's plateau).
//!   A refused connection costs little itself, but an endpoint that restarts would use up an
//!   attempt of all that waits for it. Therefore it counts as a refusal, too.
//! - **Silence**: when a request hangs for a second and nothing was answered since it began, the
//!   limit falls to 2, and to 1 when it times out (TCP's retransmission time-out). The level
//!   before is remembered: slow start leads back to it. A request that hangs while others are
//!   answered is just a slow sample. One that hangs where the best latency is half a second or
//!   more is nothing special.
//!
//! Known limits: a queue that others than this process keep full looks like a slow endpoint (the
//! late-comer's advantage of all delay-based limits), and an endpoint that refuses by rate and not
//! by concurrency is slowed down no further than to one request at a time.

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

/// So many requests at a time meet no queue that is worth mentioning.
const ALONE: usize = 2;

/// The weight of one refusal in the share of refusals.
const REFUSAL: f32 = 1.0 / 16.0;

/// The weight of one time-out in the share of refusals: it costs more.
const TIME_OUT: f32 = 1.0 / 4.0;

/// A share of refusals up to this is tolerated.
const TOLERATED: f32 = 0.2;

/// Slow start leads up to this part of a level that was refused.
const RETURN_TO: f32 = 0.75;

/// Near a level that was refused the limit grows by this much a second,
const CAREFUL: f32 = 0.5;

/// by this part of itself a second if that is more,
const CAREFUL_PART: f32 = 1.0 / 32.0;

/// and by this part of itself a round trip at most.
const CAREFUL_STEP: f32 = 1.0 / 20.0;

/// Where the latency has been near its target for so long, the limit is lowered for a moment to
/// see whether the best latency is lower than known: in seconds,
const PROBE_EVERY: f64 = 10.0;

/// and in round trips, whichever is longer,
const PROBE_ROUNDS: f64 = 100.0;

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

/// A quick endpoint answers typically within this. In seconds.
const QUICK: f32 = 0.25;

/// So many quick answers after one that hung prove that an endpoint is quick again.
const PROOF: u8 = 32;

/// So many are enough for a new one.
const FIRST_PROOF: u8 = 4;

/// A request counts as hanging after this. In seconds.
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
    /// When the limit was last lowered to find the best latency, or had no need of it.
    probed: f64,
    /// Requests, with what has been gained of the next one.
    limit: f32,
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
    /// Quick answers since one hung, up to [`PROOF`].
    proof: u8,
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
            limit: START.min(f32::from(ceiling)),
            best: 0.0,
            smooth: 0.0,
            before: 0.0,
            turn: f32::INFINITY,
            refusals: 0.0,
            ceiling,
            proof: PROOF - FIRST_PROOF,
            refused: false,
        }
    }

    /// How many requests may be under way now, one at least.
    pub(crate) fn allows(&self) -> usize {
        // A whole number from 1 to 65,535, always.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let limit = self.limit as usize;
        limit.max(1)
    }

    /// The smoothed latency; `None` before the first answer.
    pub(crate) fn typical(&self) -> Option<Duration> {
        self.is_known().then(|| Duration::from_secs_f32(self.smooth))
    }

    /// Whether the endpoint has proved to be quick: it answers within 250 ms typically, and no
    /// request hung lately.
    pub(crate) fn is_quick(&self) -> bool {
        self.is_known() && self.smooth < QUICK && self.proof >= PROOF
    }

    /// Notes that a request ended at `now` after `took`. `under_way` is how many there were, it
    /// included, when it began or when it ended.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        took: Duration,
        answer: Answer,
        under_way: usize,
    ) {
        let now = self.seconds(now);
        let began = now - took.as_secs_f64();
        let took = took.as_secs_f32();
        let alone = self.is_alone(now, began, under_way);
        match answer {
            Answer::Ok => {
                self.measure(took, alone);
                self.answered = now;
                self.refusals -= self.refusals * REFUSAL;
                self.adapt(now, began, took, under_way);
            }
            Answer::Overload => {
                self.answered = now;
                self.refuse(now, began, REFUSAL);
            }
            Answer::Failed => self.refuse(now, began, REFUSAL),
            Answer::TimedOut => {
                self.proof = 0;
                if self.is_silent_since(began, now) {
                    self.fall_to(now, 1.0);
                } else {
                    self.refuse(now, began, TIME_OUT);
                }
            }
        }
        if took >= SLOW {
            self.proof = 0;
        }
    }

    /// Notes that a request has been under way for a second and goes on.
    pub(crate) fn hangs(&mut self, now: Instant, under_way: usize) {
        let now = self.seconds(now);
        let began = now - HANGS_AFTER.as_secs_f64();
        self.is_alone(now, began, under_way);
        self.proof = 0;
        if !self.is_known() {
            self.limit = self.limit.min(2.0);
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

    fn is_silent_since(&self, began: f64, now: f64) -> bool {
        self.answered < began.midpoint(now)
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
        let weight = (1.0 / self.limit).clamp(1.0 / 32.0, most);
        self.smooth += weight * (took.min(2.0 * self.smooth.max(BEST_FLOOR)) - self.smooth);
        if alone {
            // Where both are higher, or both lower, it moves towards the nearer one.
            let (low, high) = (took.min(self.smooth), took.max(self.smooth));
            self.best += (self.best.clamp(low, high) - self.best) / 2.0;
        } else {
            let lows = self.smooth * ABOVE_LOWS;
            self.best += (lows.min(self.best) - self.best) * weight / 2.0;
        }
        self.best = self.best.max(BEST_FLOOR);
    }

    /// Grows or yields after an answer.
    fn adapt(&mut self, now: f64, began: f64, took: f32, under_way: usize) {
        if took < QUICK {
            self.proof = (self.proof + 1).min(PROOF);
        }
        if began >= self.cut && self.before > 0.0 {
            self.conclude();
        }
        if !self.is_near_target() || self.allows() <= ALONE {
            self.probed = now;
        }
        if took.max(self.smooth) > self.target() {
            self.yield_to_latency(now, began, took);
        }
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
        now - self.probed > PROBE_EVERY.max(PROBE_ROUNDS * f64::from(self.smooth))
    }

    /// Empties the endpoint's queue for two round trips; slow start leads back.
    fn probe(&mut self, now: f64) {
        self.turn = self.limit;
        self.cut_to(now, self.limit * PROBE_PART);
        self.cut += PROBE_LASTS * f64::from(self.smooth);
        self.before = self.smooth;
        self.probed = now;
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
        let step = if self.limit < self.turn && headroom >= 1.0 - SLOW_START_UP_TO {
            took.max(SLOW).sqrt().recip()
        } else if self.refused {
            (took * (CAREFUL / self.limit).max(CAREFUL_PART)).min(CAREFUL_STEP)
        } else {
            (2.0 * headroom).min(1.0) / self.limit.sqrt()
        };
        self.limit = (self.limit + step).min(f32::from(self.ceiling));
        if self.limit > self.turn * FORGOTTEN_FROM {
            self.refused = false;
        }
    }

    /// Cuts by how far the latency is beyond its target: both that of a request which began
    /// after the last cut and the smoothed one.
    fn yield_to_latency(&mut self, now: f64, began: f64, took: f32) {
        let latency = took.min(self.smooth);
        if latency > self.target() && began >= self.cut {
            self.cut_to(now, self.limit * (self.target() / latency).max(0.5));
            let level = if self.limit < 2.0 { f32::INFINITY } else { self.limit };
            self.turn = if self.limit < 2.0 { level } else { self.turn.min(level) };
        }
    }

    /// Counts a refusal, and cuts by their share.
    fn refuse(&mut self, now: f64, began: f64, weight: f32) {
        let goes_on = self.refusals > TOLERATED;
        self.refusals += (1.0 - self.refusals) * weight;
        if self.refusals <= TOLERATED || began < self.cut {
            return;
        }
        // While it goes on, what was reached before it began is remembered.
        if !goes_on || self.limit > self.turn {
            self.turn = self.limit * RETURN_TO;
            self.refused = true;
        }
        self.cut_to(now, self.limit * (1.0 - self.refusals / 2.0));
    }

    /// The endpoint is silent: only so few are worth trying, until it answers.
    fn fall_to(&mut self, now: f64, limit: f32) {
        if self.limit <= limit {
            return;
        }
        if self.limit > self.turn {
            self.turn = self.limit * RETURN_TO;
        }
        self.cut_to(now, limit);
    }

    fn cut_to(&mut self, now: f64, limit: f32) {
        self.limit = limit.max(1.0);
        self.cut = now;
        self.before = 0.0;
    }
}
