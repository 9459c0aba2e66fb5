//! What operators ask of the broker. RabbitMQ is asked straight; the embedded broker's file
//! belongs to one process, which answers for it (a socket beside the file), or to whoever opens
//! it while none runs.

mod access;
pub(crate) mod queues;
pub(crate) mod rejected;
pub(crate) mod socket;

use std::time::Duration;

use broker::Broker;
use serde::{Deserialize, Serialize};

pub(crate) use access::Access;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// How every queue is doing, seen twice with a pause between.
    Queues {
        /// The delays of the schedule, in ms: each has a queue.
        delays_ms: Vec<u64>,
        /// The pause, in ms; 0 looks once.
        pause_ms: u64,
    },
    /// Rejected messages, the oldest first.
    List { which: rejected::Which, limit: usize, bodies: bool },
    /// Sends rejected messages back to where they belong.
    Requeue { which: rejected::Which },
    /// Forgets rejected messages.
    Drop { which: rejected::Which },
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Queues { queues: Vec<queues::QueueLine> },
    Listed { messages: Vec<rejected::RejectedMessage>, more: bool },
    Done(rejected::Outcome),
}

/// Does what is asked.
pub(crate) async fn operate(broker: &dyn Broker, ask: Ask) -> anyhow::Result<Answer> {
    match ask {
        Ask::Queues { delays_ms, pause_ms } => {
            let delays = delays_ms.into_iter().map(Duration::from_millis).collect();
            let pause = Duration::from_millis(pause_ms).min(queues::LONGEST_PAUSE);
            Ok(Answer::Queues { queues: queues::look(broker, delays, pause).await? })
        }
        Ask::List { which, limit, bodies } => {
            let (messages, more) = rejected::list(broker, &which, limit, bodies).await?;
            Ok(Answer::Listed { messages, more })
        }
        Ask::Requeue { which } => Ok(Answer::Done(rejected::requeue(broker, &which).await?)),
        Ask::Drop { which } => Ok(Answer::Done(rejected::forget(broker, &which).await?)),
    }
}
