//! A consumer: takes while it may, settles what its taker has finished.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::embedded::lane::{Lane, Name, Ready};
use crate::embedded::writer::Command;
use crate::message::Settled;
use crate::{Acker, Incoming};

/// Messages settled together, at most.
const BATCH: usize = 1_024;

pub(super) struct Worker {
    pub(super) lane: Arc<Lane>,
    pub(super) prefetch: usize,
    pub(super) messages: mpsc::Sender<Incoming>,
    pub(super) commands: mpsc::Sender<Command>,
}

/// What is taken and not settled.
#[derive(Default)]
struct UnderWay(HashMap<u64, Ready>);

impl Worker {
    /// Hands messages on, at most `prefetch` unsettled, until nobody reads them or the broker
    /// closes; then waits for what is under way.
    pub(super) async fn run(self, closing: CancellationToken) {
        let (settle, mut settled) = mpsc::unbounded_channel();
        let mut under_way = UnderWay::default();
        let (mut batch, mut taken) = (Vec::with_capacity(BATCH), Vec::new());
        self.announce().await;
        self.lane.join();
        {
            let (mut closing, mut unread) =
                (pin!(closing.cancelled()), pin!(self.messages.closed()));
            loop {
                self.lane.take(self.prefetch - under_way.0.len(), &mut taken);
                for ready in taken.drain(..) {
                    let tag = ready.place.id.cast_unsigned();
                    let acker = Acker { tag, settle: Some(settle.clone()) };
                    let message = ready.message.incoming(ready.redelivered, ready.returns, acker);
                    under_way.0.insert(tag, ready);
                    // There is room for a whole prefetch; unread, it goes back by its acker.
                    self.messages.try_send(message).ok();
                }
                tokio::select! {
                    biased;
                    () = &mut closing => break,
                    // Before what is settled: unread, everything comes back at once.
                    () = &mut unread => break,
                    _ = settled.recv_many(&mut batch, BATCH) => {
                        self.settle(&mut under_way, &mut batch).await;
                    }
                    () = self.lane.arrived.notified(), if under_way.0.len() < self.prefetch => {}
                }
            }
        }
        self.lane.leave();
        // Ends with the last acker, or at a close, once what was settled before it is written.
        drop(settle);
        loop {
            let count = tokio::select! {
                biased;
                count = settled.recv_many(&mut batch, BATCH) => count,
                () = closing.cancelled() => 0,
            };
            if count == 0 {
                return;
            }
            self.settle(&mut under_way, &mut batch).await;
        }
    }

    /// Before anything is taken to be worked on: what ends this process then is counted.
    async fn announce(&self) {
        if self.lane.name != Name::Rejected {
            let (noted, heard) = oneshot::channel();
            self.commands.send(Command::Begin(noted)).await.ok();
            heard.await.ok();
        }
    }

    async fn settle(&self, under_way: &mut UnderWay, batch: &mut Vec<Settled>) {
        let mut done = Vec::with_capacity(batch.len());
        for settled in batch.drain(..) {
            match settled {
                Settled::Done(tag) => {
                    done.extend(under_way.0.remove(&tag).map(|ready| ready.place.id));
                }
                Settled::HandedBack(tag) => {
                    if let Some(ready) = under_way.0.remove(&tag) {
                        self.lane.put_back(ready);
                    }
                }
            }
        }
        if !done.is_empty() {
            self.lane.finished.fetch_add(done.len() as u64, Ordering::Relaxed);
            // After the end of the writer they come again.
            self.commands.send(Command::Done(self.lane.name, done)).await.ok();
        }
    }
}
