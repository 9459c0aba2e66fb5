//! Acknowledgements, gathered: one frame for a whole run of finished messages.

use std::collections::BTreeSet;

use futures::future::join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::message::Settled;

/// Messages settled with one look at the channel, at most.
const BATCH: usize = 1_024;

/// Sends what is settled until nobody can settle anything more, or until a close has been told
/// everything that was settled before it. After the connection is lost there is nothing to
/// send: the broker brings the messages again.
pub(super) async fn run(
    channel: Channel,
    mut settled: mpsc::UnboundedReceiver<Settled>,
    closing: CancellationToken,
) {
    let mut tags = Tags::default();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let taken = tokio::select! {
            biased;
            taken = settled.recv_many(&mut batch, BATCH) => taken,
            () = closing.cancelled() => 0,
        };
        if taken == 0 {
            return;
        }
        let (done, back): (Vec<Settled>, Vec<Settled>) =
            batch.drain(..).partition(|settled| matches!(settled, Settled::Done(_)));
        let back: Vec<u64> = back.into_iter().map(Settled::tag).collect();
        let nack = BasicNackOptions { requeue: true, multiple: false };
        join_all(back.iter().map(|tag| channel.basic_nack(*tag, nack))).await;
        tags.settled.extend(back);
        let acks = tags.acks(done.into_iter().map(Settled::tag).collect());
        // Sent together: each would wait for its own trip to the socket.
        join_all(
            acks.into_iter()
                .map(|ack| channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.multiple })),
        )
        .await;
    }
}

impl Settled {
    fn tag(self) -> u64 {
        match self {
            Self::Done(tag) | Self::HandedBack(tag) => tag,
        }
    }
}

/// What is settled on a channel, where tags count from 1.
struct Tags {
    /// Everything below is settled.
    next: u64,
    /// Settled ones from `next` on.
    settled: BTreeSet<u64>,
}

impl Default for Tags {
    fn default() -> Self {
        Self { next: 1, settled: BTreeSet::new() }
    }
}

/// One frame to send.
#[derive(Debug, PartialEq, Eq)]
struct Ack {
    tag: u64,
    multiple: bool,
}

impl Tags {
    /// The fewest frames that acknowledge `done`: one for the run from the oldest unsettled on,
    /// one each for those beyond a gap.
    fn acks(&mut self, mut done: BTreeSet<u64>) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut last_of_run = None;
        let mut in_run = 0;
        loop {
            if done.remove(&self.next) {
                last_of_run = Some(self.next);
                in_run += 1;
            } else if !self.settled.remove(&self.next) {
                break;
            }
            self.next += 1;
        }
        acks.extend(last_of_run.map(|tag| Ack { tag, multiple: in_run > 1 }));
        acks.extend(done.iter().map(|tag| Ack { tag: *tag, multiple: false }));
        self.settled.extend(done);
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tag: u64) -> Ack {
        Ack { tag, multiple: false }
    }

    fn run_to(tag: u64) -> Ack {
        Ack { tag, multiple: true }
    }

    #[test]
    fn a_run_is_acknowledged_by_its_last_and_what_lies_beyond_a_gap_singly() {
        let mut tags = Tags::default();
        assert_eq!(tags.acks(BTreeSet::from([1, 2, 3, 5])), [run_to(3), one(5)]);
        assert_eq!(tags.acks(BTreeSet::from([6])), [one(6)]);
        assert_eq!(tags.acks(BTreeSet::from([4])), [one(4)], "5 and 6 are settled already");
        assert_eq!(tags.acks(BTreeSet::from([7, 8])), [run_to(8)]);
        assert!(tags.settled.is_empty());
    }

    #[test]
    fn a_message_handed_back_ends_no_run() {
        let mut tags = Tags::default();
        tags.settled.insert(2);
        assert_eq!(tags.acks(BTreeSet::from([1, 3])), [run_to(3)]);
        tags.settled.insert(5);
        assert_eq!(tags.acks(BTreeSet::from([4])), [one(4)], "never a tag that was handed back");
    }
}
