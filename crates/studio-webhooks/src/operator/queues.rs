//! How every queue is doing.

use std::time::Duration;

use broker::{Broker, Queue, QueueState};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The longest pause between two looks.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueueLine {
    pub(crate) queue: String,
    pub(crate) messages: u64,
    pub(crate) consumers: u32,
    /// Seconds since the oldest of its messages came, where the broker can tell.
    pub(crate) oldest_s: Option<f64>,
    /// Messages a second that came and that were finished, where the broker can tell.
    pub(crate) in_per_s: Option<f64>,
    pub(crate) out_per_s: Option<f64>,
    /// Messages a second that it grows by.
    pub(crate) growth_per_s: Option<f64>,
}

/// Looks at every queue, and after `pause` again: the difference is the rate.
pub(crate) async fn look(
    broker: &dyn Broker,
    delays: Vec<Duration>,
    pause: Duration,
) -> anyhow::Result<Vec<QueueLine>> {
    let mut queues = vec![Queue::Dispatch, Queue::Deliver];
    queues.extend(delays.into_iter().map(Queue::Retry));
    queues.extend([Queue::Wait, Queue::Rejected]);
    let first = inspect(broker, &queues).await?;
    if pause.is_zero() {
        let now = first.into_iter();
        return Ok(queues.iter().zip(now).map(|(q, (state, _))| line(*q, None, state)).collect());
    }
    tokio::time::sleep(pause).await;
    let second = inspect(broker, &queues).await?;
    let looked = queues.iter().zip(first).zip(second);
    Ok(looked
        .map(|((q, before), (state, at))| {
            line(*q, Some((before.0, (at - before.1).as_secs_f64())), state)
        })
        .collect())
}

type Look = (QueueState, std::time::Instant);

async fn inspect(broker: &dyn Broker, queues: &[Queue]) -> anyhow::Result<Vec<Look>> {
    let mut states = Vec::with_capacity(queues.len());
    for queue in queues {
        states.push((broker.inspect(*queue).await?, std::time::Instant::now()));
    }
    Ok(states)
}

fn line(queue: Queue, before: Option<(QueueState, f64)>, now: QueueState) -> QueueLine {
    let per_second = |before: u64, now: u64, seconds: f64| {
        (now as f64 - before as f64) / seconds.max(f64::EPSILON)
    };
    let growth = before.map(|(was, seconds)| per_second(was.messages, now.messages, seconds));
    let out =
        before.and_then(|(was, seconds)| Some(per_second(was.finished?, now.finished?, seconds)));
    QueueLine {
        queue: queue.to_string(),
        messages: now.messages,
        consumers: now.consumers,
        oldest_s: now.oldest.map(|at| (OffsetDateTime::now_utc() - at).as_seconds_f64().max(0.0)),
        in_per_s: growth.zip(out).map(|(growth, out)| (growth + out).max(0.0)),
        out_per_s: out,
        growth_per_s: growth,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_is_what_went_out_and_what_is_more() {
        let state = |messages, finished| QueueState {
            messages,
            finished: Some(finished),
            ..QueueState::default()
        };
        let line = line(Queue::Dispatch, Some((state(10, 100), 2.0)), state(30, 140));
        let rates = (line.in_per_s, line.out_per_s, line.growth_per_s);
        assert_eq!(rates, (Some(30.0), Some(20.0), Some(10.0)));
    }
}
