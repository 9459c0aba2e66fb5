//! The names that publishers, operators and services share (`docs/publishers.md`).

use std::fmt;
use std::time::Duration;

use domain::EventType;
use domain::setting::format_duration;

/// How long work that must wait its turn waits (`studio.deliver.wait.5s`).
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// A queue that can be consumed or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// `studio.dispatch`: events as published.
    Dispatch,
    /// `studio.deliver`: single deliveries: retries, redeliveries, handed-back work.
    Deliver,
    /// `studio.deliver.retry.DELAY`: deliveries that wait for their next attempt.
    Retry(Duration),
    /// `studio.deliver.wait.5s`: deliveries that wait for their turn.
    Wait,
    /// `studio.rejected`: what could not be read.
    Rejected,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dispatch => f.write_str("studio.dispatch"),
            Self::Deliver => f.write_str("studio.deliver"),
            Self::Retry(delay) => write!(f, "studio.deliver.retry.{}", format_duration(*delay)),
            Self::Wait => write!(f, "studio.deliver.wait.{}", format_duration(WAIT)),
            Self::Rejected => f.write_str("studio.rejected"),
        }
    }
}

/// Where a message is published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The exchange `studio.events` with this type as the routing key: it reaches
    /// `studio.dispatch` and the history.
    Events(EventType),
    /// Straight to a queue.
    Queue(Queue),
    /// The topic exchange `studio.notices` with this routing key; kept only by who listens.
    Notices(&'static str),
}
