//! The ledger test, as Jepsen does it: the publisher writes down what was confirmed, the
//! receiver what arrived, and a checker compares the two with what webhooks asked for, with the
//! product's own log and with its schedule.

mod check;
mod deliveries;
mod report;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::event::{SampleEvent, unix_micros};
use crate::publish::PublishError;
use crate::receiver::Recorded;

pub use check::{check, must_end_empty};
pub use report::{Invariant, Report, Violation};

/// What the publisher knows of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event.
    pub id: String,
    /// Its owner.
    pub user: String,
    /// Its type.
    pub kind: String,
    /// Its project.
    pub project: Option<String>,
    /// What must arrive.
    pub payload: Bytes,
    /// Before it was first published, in microseconds since 1970.
    pub since_us: u64,
    /// Whether it was accepted. An event that was not may arrive all the same.
    pub confirmed: bool,
}

/// The publisher's record. Shared by all that publish; an event may be tried again.
#[derive(Debug, Default)]
pub struct Ledger {
    events: Mutex<BTreeMap<(String, String), Published>>,
}

impl Ledger {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes one event by `publish` and writes down how that went.
    ///
    /// # Errors
    /// What `publish` returned.
    pub async fn publish<F>(&self, event: &SampleEvent, publish: F) -> Result<(), PublishError>
    where
        F: Future<Output = Result<(), PublishError>>,
    {
        self.attempted(event);
        let result = publish.await;
        if result.is_ok() {
            self.confirmed(event);
        }
        result
    }

    /// Before the event leaves.
    pub fn attempted(&self, event: &SampleEvent) {
        let key = (event.user.clone(), event.id.clone());
        self.lock().entry(key).or_insert_with(|| Published {
            id: event.id.clone(),
            user: event.user.clone(),
            kind: event.kind.clone(),
            project: event.project(),
            payload: event.payload().into(),
            since_us: unix_micros(),
            confirmed: false,
        });
    }

    /// After the event was accepted.
    pub fn confirmed(&self, event: &SampleEvent) {
        if let Some(known) = self.lock().get_mut(&(event.user.clone(), event.id.clone())) {
            known.confirmed = true;
        }
    }

    /// Everything that was tried, by user and id.
    #[must_use]
    pub fn events(&self) -> Vec<Published> {
        self.lock().values().cloned().collect()
    }

    /// How many events were accepted.
    #[must_use]
    pub fn confirmed_count(&self) -> usize {
        self.lock().values().filter(|event| event.confirmed).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Published>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a webhook asked for, and the path of the receiver that it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The webhook's id.
    pub webhook: String,
    /// Its path on the receiver; each webhook needs its own.
    pub path: String,
    /// Its owner.
    pub user: String,
    /// Types, families (`scrape.*`) or `*`.
    pub events: Vec<String>,
    /// Only these projects; all when empty.
    pub projects: Vec<String>,
    /// Its secret as shown.
    pub secret: String,
    /// Whether it may be told anything.
    pub active: bool,
}

impl Subscriber {
    /// Whether this event must be delivered to it.
    #[must_use]
    pub fn wants(&self, event: &Published) -> bool {
        let kind = self.events.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(family) => event.kind.starts_with(family),
            None => *pattern == event.kind,
        });
        let project = self.projects.is_empty()
            || event.project.as_ref().is_some_and(|project| self.projects.contains(project));
        self.active && self.user == event.user && kind && project
    }
}

/// A delivery as the product's API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The webhook.
    pub webhook: String,
    /// The delivery's id, as in `X-Sentimatrix-Delivery`.
    pub delivery: String,
    /// The event's id.
    pub event: String,
    /// `pending`, `retrying`, `success` or `failed`.
    pub status: String,
    /// The numbers of the attempts made, as listed.
    pub attempts: Vec<u32>,
}

/// How the product took a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// What was done to it.
    pub fault: String,
    /// From the end of the fault to the first delivery.
    pub back_after: Duration,
    /// Resident memory after the fault, as a multiple of that before.
    pub memory_ratio: f64,
    /// Processor time during the fault, as a share of one core.
    pub cpu_share: f64,
    /// Lines logged during the fault, a minute.
    pub log_lines_per_minute: f64,
}

/// All that is compared.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The publisher's record.
    pub published: &'a [Published],
    /// Every webhook, inactive and deleted ones included.
    pub subscribers: &'a [Subscriber],
    /// The receiver's record.
    pub requests: &'a [Recorded],
    /// The product's log, where it was read.
    pub logs: Option<&'a [LogRow]>,
    /// The waits between attempts; there is one attempt more.
    pub schedule: &'a [Duration],
    /// How many requests may come twice: the work under way at each fault, summed.
    pub duplicates_allowed: usize,
    /// How the product took each fault.
    pub recoveries: &'a [Recovery],
    /// How many messages each queue holds at the end.
    pub queues: &'a BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests;
