//! Tells the other dispatchers what became of backlogs: many changes in one message, since a crowd
//! of endpoints that fall silent begins thousands of backlogs at once.

use std::sync::Arc;
use std::time::Duration;

use broker::{BacklogChange, BacklogNews, ControlMessage};
use store::BacklogKey;
use tokio::sync::mpsc;

use crate::Context;

/// How long changes are gathered.
const GATHERED: Duration = Duration::from_millis(5);

/// Changes in one message, at most.
const TOGETHER: usize = 500;

/// Changes that wait to be told, at most: others are not worth waiting for, whoever misses one
/// finds out by itself.
const WAITING: usize = 20_000;

/// How long the broker may take for a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where changes are handed over.
pub(crate) struct Announcer(mpsc::Sender<BacklogNews>);

impl Announcer {
    /// With the changes that [`run`] tells.
    pub(crate) fn new() -> (Self, mpsc::Receiver<BacklogNews>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Tells the other dispatchers, soon.
    pub(crate) fn tell(&self, key: BacklogKey, change: BacklogChange) {
        let webhook_id = key.webhook.to_string();
        self.0.try_send(BacklogNews { webhook_id, partition: key.partition, change }).ok();
    }
}

/// Publishes changes until the stop.
pub(crate) async fn run(context: Arc<Context>, mut changes: mpsc::Receiver<BacklogNews>) {
    let tell = async {
        let mut told = Vec::new();
        while changes.recv_many(&mut told, TOGETHER).await > 0 {
            tokio::time::sleep(GATHERED).await;
            while told.len() < TOGETHER {
                let Ok(one) = changes.try_recv() else { break };
                told.push(one);
            }
            let message = ControlMessage::Backlogs { changes: std::mem::take(&mut told) };
            tokio::time::timeout(PATIENCE, context.broker.announce(&message)).await.ok();
        }
    };
    tokio::select! {
        () = context.stop.cancelled() => {}
        () = tell => {}
    }
}
