//! A delivery is one event for one webhook; an attempt is one HTTP request of it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::{DeliveryId, Event, WebhookId};

/// Where a delivery stands: the API's `status` of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum DeliveryStatus {
    /// Not tried yet, or deferred.
    Pending = 0,
    /// Failed so far; another attempt is planned.
    Retrying = 1,
    /// The endpoint took it.
    Success = 2,
    /// Every attempt failed.
    Failed = 3,
    /// Given up without another attempt: its webhook was deleted or switched off.
    Cancelled = 4,
}

impl DeliveryStatus {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Pending, "pending"),
        (Self::Retrying, "retrying"),
        (Self::Success, "success"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
    ];

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Whether no attempt follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled)
    }
}

impl TryFrom<i16> for DeliveryStatus {
    type Error = InvalidTask;

    fn try_from(number: i16) -> Result<Self, InvalidTask> {
        let index = usize::try_from(number).map_err(|_| InvalidTask("status"))?;
        Self::NAMES.get(index).map(|(status, _)| *status).ok_or(InvalidTask("status"))
    }
}

impl FromStr for DeliveryStatus {
    type Err = InvalidTask;

    fn from_str(name: &str) -> Result<Self, InvalidTask> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(status, _)| *status).ok_or(InvalidTask("status"))
    }
}

/// Why a delivery exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Cause {
    /// An event was published.
    Event = 0,
    /// The user asked for the delivery again.
    Redelivery = 1,
    /// The user asked for events from history.
    Replay = 2,
    /// The user tests the webhook: sent once, never retried.
    Test = 3,
}

impl Cause {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Event, "event"),
        (Self::Redelivery, "redelivery"),
        (Self::Replay, "replay"),
        (Self::Test, "test"),
    ];

    /// The name in messages and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl TryFrom<i16> for Cause {
    type Error = InvalidTask;

    fn try_from(number: i16) -> Result<Self, InvalidTask> {
        let index = usize::try_from(number).map_err(|_| InvalidTask("cause"))?;
        Self::ALL.get(index).map(|(cause, _)| *cause).ok_or(InvalidTask("cause"))
    }
}

impl FromStr for Cause {
    type Err = InvalidTask;

    fn from_str(name: &str) -> Result<Self, InvalidTask> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(cause, _)| *cause).ok_or(InvalidTask("cause"))
    }
}

/// A message or row of our own names something that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is missing or wrong in a message of studio.deliver")]
pub struct InvalidTask(pub &'static str);

/// One delivery to attempt, as it travels through `studio.deliver` and the delay queues. It is
/// whole: the store is never needed to find work.
#[derive(Clone, Debug)]
pub struct DeliveryTask {
    /// Which delivery.
    pub id: DeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// What to deliver.
    pub event: Event,
    /// The number of the attempt to make; the first is 1.
    pub attempt: u32,
    /// The attempt must not start before.
    pub not_before: Option<OffsetDateTime>,
    /// Why it exists.
    pub cause: Cause,
}

impl DeliveryTask {
    /// The headers of the message; its body is [`Event::to_message`].
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("studio-delivery", self.id.to_string()),
            ("studio-webhook", self.webhook.to_string()),
            ("studio-attempt", self.attempt.to_string()),
            ("studio-cause", self.cause.as_str().to_owned()),
        ];
        if let Some(at) = self.not_before {
            headers.push(("studio-not-before", unix_millis(at).to_string()));
        }
        if let Some(trace) = &self.event.traceparent {
            headers.push(("traceparent", trace.to_string()));
        }
        headers
    }

    /// The task of a message: the inverse of [`DeliveryTask::headers`].
    ///
    /// # Errors
    /// [`InvalidTask`] with the header that is missing or wrong.
    pub fn from_headers<'a>(
        event: Event,
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Self, InvalidTask> {
        fn read<T: FromStr>(name: &'static str, text: Option<&str>) -> Result<T, InvalidTask> {
            text.and_then(|text| text.parse().ok()).ok_or(InvalidTask(name))
        }
        let not_before = match header("studio-not-before") {
            None => None,
            text => Some(from_unix_millis(read("studio-not-before", text)?)?),
        };
        Ok(Self {
            id: read("studio-delivery", header("studio-delivery"))?,
            webhook: read("studio-webhook", header("studio-webhook"))?,
            attempt: read("studio-attempt", header("studio-attempt"))?,
            cause: read("studio-cause", header("studio-cause"))?,
            not_before,
            event,
        })
    }
}

fn unix_millis(at: OffsetDateTime) -> i64 {
    // Rounded up: a task must never come due early.
    let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
    let exact = at.unix_timestamp_nanos().rem_euclid(1_000_000) == 0;
    i64::try_from(if exact { millis } else { millis + 1 }).unwrap_or(i64::MAX)
}

fn from_unix_millis(millis: i64) -> Result<OffsetDateTime, InvalidTask> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .map_err(|_| InvalidTask("studio-not-before"))
}

/// What kind of failure an attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The endpoint answered 400 or above.
    Status,
    /// The endpoint answered 3xx; redirects are not followed.
    Redirect,
    /// No connection, or no whole answer, in time.
    Timeout,
    /// The connection was refused, reset or broken.
    Network,
    /// The name could not be resolved.
    Dns,
    /// TLS failed: an expired, wrong or unknown certificate.
    Tls,
    /// The address is private, local or otherwise special: nothing was sent.
    BlockedAddress,
    /// We had no file descriptor or port left: nothing was sent, and the endpoint is not to blame.
    Exhausted,
}

impl FailureKind {
    /// The name in the store, the log and `/metrics`; see [`FailureKind::shown_as`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::BlockedAddress => "blocked_address",
            Self::Exhausted => "exhausted",
        }
    }

    /// Whether users must not learn which of several kinds it is: a name that nobody knows and
    /// one that points inside look the same to them.
    #[must_use]
    pub const fn hides_why(self) -> bool {
        matches!(self, Self::Dns | Self::BlockedAddress)
    }

    /// The name that users see for a kind of this name in the store. Operators see the kinds
    /// apart, in the log and in `/metrics`.
    ///
    /// ```
    /// # use domain::FailureKind;
    /// assert_eq!(FailureKind::shown_as("dns"), FailureKind::shown_as("blocked_address"));
    /// assert_eq!(FailureKind::shown_as("timeout"), "timeout");
    /// ```
    #[must_use]
    pub fn shown_as(stored: &str) -> &str {
        let hidden = [Self::Dns, Self::BlockedAddress].map(Self::as_str);
        if hidden.contains(&stored) { "address" } else { stored }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt failed, for the webhook's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The API's `error`: the reason phrase of the status (`Internal Server Error`), or words
    /// such as `Connection timeout`.
    pub text: String,
}

/// What one attempt came to.
#[derive(Clone, Debug)]
pub struct AttemptReport {
    /// When it started.
    pub started_at: OffsetDateTime,
    /// How long it took, answer included.
    pub duration: Duration,
    /// The answer's status, if one came.
    pub status: Option<u16>,
    /// The address that was connected to.
    pub address: Option<SocketAddr>,
    /// The first [`crate::MAX_STORED_RESPONSE`] bytes of the answer.
    pub response: Bytes,
    /// The endpoint's wish (`Retry-After` of a 429 or 503).
    pub retry_after: Option<Duration>,
    /// Why it failed; `None` when the endpoint took the delivery.
    pub failure: Option<AttemptFailure>,
}

impl AttemptReport {
    /// Whether the endpoint took the delivery: a status below 300 (specification, "Retry
    /// Policy"; a 3xx is not followed and fails).
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        self.failure.is_none()
    }

    /// How long the endpoint took, as its user sees it: nothing where no request was sent because
    /// of the address. How long we looked for it would tell which names our network knows.
    #[must_use]
    pub fn response_time(&self) -> Duration {
        let hidden = |failure: &AttemptFailure| failure.kind.hides_why();
        if self.failure.as_ref().is_some_and(hidden) { Duration::ZERO } else { self.duration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    fn task() -> DeliveryTask {
        let text = r#"{"id":"evt_1","event":"scrape.failed","timestamp":"2026-02-02T12:00:00Z","user_id":"u","data":{"a":1.0}}"#;
        let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
        let webhook = WebhookId::generate();
        DeliveryTask {
            id: DeliveryId::derive(&event.user, &event.id, webhook, ""),
            webhook,
            event,
            attempt: 3,
            not_before: Some(OffsetDateTime::UNIX_EPOCH + Duration::from_nanos(1_500_001)),
            cause: Cause::Redelivery,
        }
    }

    #[test]
    fn a_task_survives_its_message() {
        let sent = task();
        let headers = sent.headers();
        let find = |name: &'static str| {
            headers.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
        };
        let event = Event::from_json(&sent.event.to_message(), &Origin::default()).unwrap();
        let read = DeliveryTask::from_headers(event, find).unwrap();
        assert_eq!(
            (read.id, read.webhook, read.attempt, read.cause),
            (sent.id, sent.webhook, 3, Cause::Redelivery)
        );
        assert!(read.not_before >= sent.not_before, "never early");
        assert_eq!(read.event.payload, sent.event.payload);
    }

    #[test]
    fn a_task_without_its_attempt_is_named_so() {
        let sent = task();
        let headers = sent.headers();
        let find = |name: &'static str| {
            headers
                .iter()
                .filter(|(known, _)| *known != "studio-attempt")
                .find(|(known, _)| *known == name)
                .map(|(_, text)| text.as_str())
        };
        let error = DeliveryTask::from_headers(sent.event.clone(), find).unwrap_err();
        assert_eq!(error, InvalidTask("studio-attempt"));
    }

    #[test]
    fn statuses_are_read_back_by_name_and_number() {
        for (status, name) in DeliveryStatus::NAMES {
            assert_eq!(name.parse(), Ok(status));
            assert_eq!(DeliveryStatus::try_from(status as i16), Ok(status));
        }
    }
}
