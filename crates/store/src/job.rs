//! Background jobs, as values: a range of redeliveries, or a replay of what was missed.

use domain::{Cause, DeliveryId, Event, JobId, UserId, WebhookId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::StoreError;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum JobKind {
    /// Makes deliveries of a range again.
    Redelivery = 0,
    /// Delivers events from history that the webhook never had.
    Replay = 1,
}

impl JobKind {
    const ALL: [(Self, &'static str); 2] =
        [(Self::Redelivery, "redelivery"), (Self::Replay, "replay")];
}

/// Which deliveries of the range are made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i16)]
pub enum JobScope {
    /// Those that failed.
    #[default]
    Failed = 0,
    /// Those that were given up, because the webhook was off.
    Cancelled = 1,
    /// Those that succeeded.
    Success = 2,
    /// All that have ended.
    All = 3,
}

impl JobScope {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
        (Self::Success, "success"),
        (Self::All, "all"),
    ];

    /// The scope of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(scope, _)| *scope)
    }
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum JobStatus {
    /// Not begun.
    Pending = 0,
    /// Under way.
    Running = 1,
    /// At its end.
    Done = 2,
    /// Ended before it was done; the reason stands beside it.
    Cancelled = 3,
}

impl JobStatus {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Pending, "pending"),
        (Self::Running, "running"),
        (Self::Done, "done"),
        (Self::Cancelled, "cancelled"),
    ];
}

macro_rules! named_and_numbered {
    ($($name:ident),*) => {$(
        impl $name {
            /// The name in the API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                Self::ALL[self as usize].1
            }
        }

        impl TryFrom<i16> for $name {
            type Error = StoreError;

            fn try_from(number: i16) -> Result<Self, StoreError> {
                let found = Self::ALL.iter().find(|(known, _)| *known as i16 == number);
                found.map(|(known, _)| *known).ok_or_else(|| {
                    StoreError::corrupt("job", format!("{} {number}", stringify!($name)))
                })
            }
        }
    )*};
}
named_and_numbered!(JobKind, JobScope, JobStatus);

/// A job to make.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Names it; a job of this name that is there already is left as it is.
    pub id: JobId,
    /// Whose.
    pub user: UserId,
    /// Of which webhook.
    pub webhook: WebhookId,
    /// What it does.
    pub kind: JobKind,
    /// Which deliveries, for redeliveries.
    pub scope: JobScope,
    /// From here on.
    pub since: OffsetDateTime,
    /// Up to, and without.
    pub until: OffsetDateTime,
}

/// A job and how far it has come.
#[derive(Clone, Debug)]
pub struct Job {
    /// Names it.
    pub id: JobId,
    /// Whose.
    pub user: UserId,
    /// Of which webhook.
    pub webhook: WebhookId,
    /// What it does.
    pub kind: JobKind,
    /// Which deliveries, for redeliveries.
    pub scope: JobScope,
    /// From here on.
    pub since: OffsetDateTime,
    /// Up to, and without.
    pub until: OffsetDateTime,
    /// How far.
    pub status: JobStatus,
    /// Why it was cancelled.
    pub reason: Option<String>,
    /// What counts.
    pub counts: JobCounts,
    /// Whether there are more than `counts.total`, which were not counted.
    pub total_capped: bool,
    /// Where the history begins, if that is after `since`: what was before could not be covered.
    pub history_from: Option<OffsetDateTime>,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When it last came forward.
    pub updated_at: OffsetDateTime,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
    /// Grows with every step.
    pub(crate) steps: i32,
    /// The last delivery looked at.
    pub(crate) cursor: (i64, Uuid),
}

impl Job {
    /// The id of the delivery that this job makes of `event`: of a redelivery one of its own, the
    /// same however often a step is repeated; of a replay the one that publishing would have made.
    #[must_use]
    pub fn delivery_of(&self, event: &Event) -> DeliveryId {
        let nonce = match self.kind {
            JobKind::Redelivery => self.id.to_string(),
            JobKind::Replay => String::new(),
        };
        DeliveryId::derive(&event.user, &event.id, self.webhook, &nonce)
    }

    /// Why its deliveries exist.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self.kind {
            JobKind::Redelivery => Cause::Redelivery,
            JobKind::Replay => Cause::Replay,
        }
    }
}

/// What a job counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// What is known to be looked at; grows while more is found.
    pub total: u64,
    /// Handed to the broker, to be delivered.
    pub done: u64,
    /// Left out: the webhook has it already.
    pub skipped: u64,
    /// What cannot be delivered: the event is not kept any more.
    pub failed: u64,
}

impl JobCounts {
    /// What has been looked at.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.done + self.skipped + self.failed
    }
}

/// The next deliveries of a range.
#[derive(Clone, Debug, Default)]
pub struct RangePage {
    /// The events to deliver again, those among them that a step cut short has delivered.
    pub events: Vec<Event>,
    /// Those of which a later delivery of somebody else succeeded.
    pub skipped: u64,
    /// Those whose event is not kept any more.
    pub failed: u64,
    /// Where the page ends; `None` when there was nothing more.
    pub(crate) end: Option<(i64, Uuid)>,
}

impl RangePage {
    /// Whether there was nothing more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.end.is_none()
    }
}
