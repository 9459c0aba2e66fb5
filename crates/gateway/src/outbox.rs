//! What waits to be written to one connection: bounded in bytes, and in the time without
//! progress.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Bytes in a connection's write buffer beyond which nothing more is put into it, and the largest
/// piece that is put into it at once. Together they are no more than the buffer has to begin with
/// (8 KiB): what it grows to in a burst would stay with the connection for life.
pub const WRITE_BUFFER: usize = 4 * 1024;

/// Frames that wait for one connection.
pub(crate) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Bytes that wait at all connections of the worker.
    total: Rc<Cell<usize>>,
    /// When something was last taken, or the first frame began to wait.
    moved_at: Instant,
    /// A part of the first frame has been taken: the rest must follow.
    torn: bool,
    state: State,
    sleeper: Option<Waker>,
}

enum State {
    Open,
    /// Nothing more is taken in; after what waits, this is said.
    Leaving(Bytes),
    /// Everything has been said.
    Done,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Waiting,
    /// Dropped: the client does not read fast enough.
    TooSlow,
    /// Dropped: the connection is being closed.
    Closed,
}

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) bytes: usize,
    pub(crate) without_progress: Duration,
}

impl Outbox {
    pub(crate) fn new(total: Rc<Cell<usize>>, now: Instant) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            total,
            moved_at: now,
            torn: false,
            state: State::Open,
            sleeper: None,
        }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether frames are still taken in.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Adds `frame`. The last limit is the client's: `false` patience for one that is stuck.
    pub(crate) fn push(&mut self, frame: Bytes, patience: Patience, now: Instant) -> Pushed {
        if !self.is_open() {
            return Pushed::Closed;
        }
        if self.frames.is_empty() {
            self.moved_at = now;
        } else if self.bytes + frame.len() > patience.bytes
            || now.saturating_duration_since(self.moved_at) > patience.without_progress
        {
            return Pushed::TooSlow;
        }
        self.add(frame.len());
        self.frames.push_back(frame);
        self.wake();
        Pushed::Waiting
    }

    /// Says `goodbye` after what waits, and nothing more.
    pub(crate) fn leave(&mut self, goodbye: Bytes) {
        if self.is_open() {
            self.state = State::Leaving(goodbye);
            self.wake();
        }
    }

    /// Drops what waits, but for the rest of a frame that the client has the beginning of.
    pub(crate) fn clear(&mut self) {
        let rest = if self.torn { self.frames.pop_front() } else { None };
        self.frames.clear();
        self.frames.shrink_to_fit();
        self.remove(self.bytes);
        if let Some(rest) = rest {
            self.add(rest.len());
            self.frames.push_back(rest);
        }
    }

    /// Ends without another word: the client is gone.
    pub(crate) fn end(&mut self) {
        self.frames.clear();
        self.remove(self.bytes);
        self.state = State::Done;
        self.wake();
    }

    /// The next piece to write; `None` after the last.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.take(Instant::now()) {
            return Poll::Ready(Some(piece));
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Leaving(goodbye) => Poll::Ready(Some(goodbye)),
            State::Done => Poll::Ready(None),
            State::Open => {
                self.state = State::Open;
                self.sleeper = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn take(&mut self, now: Instant) -> Option<Bytes> {
        let first = self.frames.front_mut()?;
        self.torn = first.len() > WRITE_BUFFER;
        let piece =
            if self.torn { Some(first.split_to(WRITE_BUFFER)) } else { self.frames.pop_front() };
        let piece = piece?;
        if self.frames.is_empty() && self.frames.capacity() > 16 {
            // A burst leaves nothing behind.
            self.frames = VecDeque::new();
        }
        self.remove(piece.len());
        self.moved_at = now;
        Some(piece)
    }

    fn add(&mut self, size: usize) {
        self.bytes += size;
        self.total.set(self.total.get() + size);
    }

    fn remove(&mut self, size: usize) {
        self.bytes -= size;
        self.total.set(self.total.get() - size);
    }

    fn wake(&mut self) {
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;

    const PATIENCE: Patience = Patience { bytes: 100, without_progress: Duration::from_secs(10) };

    fn outbox() -> (Outbox, Rc<Cell<usize>>, Instant) {
        let (total, now) = (Rc::new(Cell::new(0)), Instant::now());
        (Outbox::new(total.clone(), now), total, now)
    }

    fn frame(size: usize) -> Bytes {
        vec![b'x'; size].into()
    }

    fn next(outbox: &mut Outbox) -> Poll<Option<usize>> {
        let mut cx = Context::from_waker(noop_waker_ref());
        outbox.poll(&mut cx).map(|piece| piece.map(|bytes| bytes.len()))
    }

    #[test]
    fn more_bytes_than_may_wait_are_refused_and_what_is_taken_makes_room() {
        let (mut outbox, total, now) = outbox();
        assert_eq!(outbox.push(frame(60), PATIENCE, now), Pushed::Waiting);
        assert_eq!(outbox.push(frame(60), PATIENCE, now), Pushed::TooSlow);
        assert_eq!(next(&mut outbox), Poll::Ready(Some(60)));
        assert_eq!((outbox.push(frame(60), PATIENCE, now), total.get()), (Pushed::Waiting, 60));
        drop(outbox);
        assert_eq!(total.get(), 0);
    }

    #[test]
    fn one_frame_larger_than_the_bound_still_goes_out() {
        let (mut outbox, _, now) = outbox();
        assert_eq!(outbox.push(frame(10_000), PATIENCE, now), Pushed::Waiting);
        let pieces = [next(&mut outbox), next(&mut outbox), next(&mut outbox), next(&mut outbox)];
        let expected = [Poll::Ready(Some(WRITE_BUFFER)), Poll::Ready(Some(WRITE_BUFFER))];
        assert_eq!(pieces[..2], expected);
        assert_eq!(pieces[2..], [Poll::Ready(Some(10_000 - 2 * WRITE_BUFFER)), Poll::Pending]);
    }

    #[test]
    fn a_client_that_takes_nothing_for_too_long_is_too_slow_however_little_waits() {
        let (mut outbox, _, now) = outbox();
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(outbox.push(frame(1), PATIENCE, later(60)), Pushed::Waiting, "it was idle");
        assert_eq!(outbox.push(frame(1), PATIENCE, later(70)), Pushed::Waiting);
        assert_eq!(outbox.push(frame(1), PATIENCE, later(71)), Pushed::TooSlow);
    }

    #[test]
    fn a_goodbye_comes_after_the_rest_of_a_torn_frame_and_then_nothing() {
        let (mut outbox, total, now) = outbox();
        let wide = Patience { bytes: 100_000, ..PATIENCE };
        outbox.push(frame(5_000), wide, now);
        outbox.push(frame(50), wide, now);
        assert_eq!(next(&mut outbox), Poll::Ready(Some(WRITE_BUFFER)));
        outbox.clear();
        outbox.leave(frame(7));
        assert_eq!(outbox.push(frame(1), wide, now), Pushed::Closed);
        assert_eq!(next(&mut outbox), Poll::Ready(Some(5_000 - WRITE_BUFFER)));
        assert_eq!(next(&mut outbox), Poll::Ready(Some(7)));
        assert_eq!((next(&mut outbox), total.get()), (Poll::Ready(None), 0));
    }
}
