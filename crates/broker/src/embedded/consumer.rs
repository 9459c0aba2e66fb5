//! A consumer: takes while it may, settles what its taker has finished.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::embedded::queues::{Ready, ReadyQueue};
use crate::embedded::writer::Command;
use crate::message::Settled;
use crate::{Acker, Incoming};

/// Settled messages looked at together, at most.
const BATCH: usize = 1_024;

struct Worker {
    queue: Arc<ReadyQueue>,
    under_way: HashMap<u64, Ready>,
    commands: mpsc::Sender<Command>,
}

/// Hands messages of `queue` to `messages`, at most `prefetch` unsettled, until nobody reads
/// them or the broker closes; then waits for what is under way.
pub(super) async fn run(
    queue: Arc<ReadyQueue>,
    prefetch: usize,
    messages: mpsc::Sender<Incoming>,
    commands: mpsc::Sender<Command>,
    closing: CancellationToken,
) {
    let (settle, mut settled) = mpsc::unbounded_channel();
    let mut worker = Worker { queue, under_way: HashMap::new(), commands };
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        worker.ask_for_more().await;
        while worker.under_way.len() < prefetch
            && let Some(ready) = worker.queue.take()
        {
            let tag = u64::try_from(ready.id).unwrap_or_default();
            worker.under_way.insert(tag, ready.clone());
            let acker = Acker { tag, settle: Some(settle.clone()) };
            // There is room: the channel holds as many as may be unsettled.
            messages.send(ready.incoming(acker)).await.ok();
        }
        let full = worker.under_way.len() >= prefetch;
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            () = messages.closed() => break,
            _ = settled.recv_many(&mut batch, BATCH) => worker.settle(&mut batch).await,
            () = worker.queue.arrived.notified(), if !full => {}
        }
    }
    drop((settle, messages));
    // At a close the rest goes back; otherwise it is waited for.
    loop {
        tokio::select! {
            biased;
            taken = settled.recv_many(&mut batch, BATCH) => match taken {
                0 => break,
                _ => worker.settle(&mut batch).await,
            },
            () = closing.cancelled() => break,
        }
    }
    worker.under_way.drain().for_each(|(_, ready)| worker.queue.put_back(ready));
    worker.queue.arrived.notify_one();
}

impl Worker {
    async fn settle(&mut self, batch: &mut Vec<Settled>) {
        let mut done = Vec::with_capacity(batch.len());
        for settled in batch.drain(..) {
            match settled {
                Settled::Done(tag) => {
                    done.extend(self.under_way.remove(&tag).map(|ready| ready.id));
                }
                Settled::HandedBack(tag) => {
                    if let Some(ready) = self.under_way.remove(&tag) {
                        self.queue.put_back(ready);
                    }
                }
            }
        }
        if !done.is_empty() {
            self.commands.send(Command::Done(done)).await.ok();
        }
    }

    async fn ask_for_more(&self) {
        if self.queue.wants_more().is_some() {
            self.commands.send(Command::Load(self.queue.name)).await.ok();
        }
    }
}
