//! The receiver's record, sorted by delivery.

use std::collections::{BTreeMap, HashMap};

use super::{Evidence, Invariant, Published, Report, Subscriber};
use crate::receiver::Recorded;

/// One event for one webhook, as the receiver saw it.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    pub(super) subscriber: &'a Subscriber,
    pub(super) event: &'a Published,
    /// In the order of arrival, each with its attempt's number.
    pub(super) requests: Vec<(u32, &'a Recorded)>,
}

impl Delivery<'_> {
    /// Whether the endpoint took it.
    pub(super) fn taken(&self) -> bool {
        self.requests.iter().any(|(_, request)| is_taken(request))
    }

    /// When each attempt first arrived, by number.
    pub(super) fn first_arrivals(&self) -> BTreeMap<u32, &Recorded> {
        let mut first = BTreeMap::new();
        for (attempt, request) in &self.requests {
            first.entry(*attempt).or_insert(*request);
        }
        first
    }

    pub(super) fn name(&self) -> String {
        format!("event {} of {} for {}", self.event.id, self.event.user, self.subscriber.webhook)
    }
}

pub(super) fn is_taken(request: &Recorded) -> bool {
    request.answered.is_some_and(|status| status < 300)
}

pub(super) type Deliveries<'a> = BTreeMap<(&'a str, &'a str), Delivery<'a>>;

/// Sorts the requests by webhook and event id. What belongs to no delivery that should exist is
/// a violation.
pub(super) fn collect<'a>(evidence: &Evidence<'a>, report: &mut Report) -> Deliveries<'a> {
    let by_path: HashMap<&str, &Subscriber> =
        evidence.subscribers.iter().map(|one| (one.path.as_str(), one)).collect();
    let by_id: HashMap<(&str, &str), &Published> = evidence
        .published
        .iter()
        .map(|event| ((event.user.as_str(), event.id.as_str()), event))
        .collect();
    let mut requests: Vec<&Recorded> = evidence.requests.iter().collect();
    requests.sort_by_key(|request| request.at);
    let mut deliveries = Deliveries::new();
    for request in requests {
        let path = request.path.as_str();
        let Some(subscriber) = by_path.get(path).copied() else {
            report.violate(Invariant::I6NobodyElses, || format!("a request to {path}: no webhook"));
            continue;
        };
        let id = request.header("webhook-id").unwrap_or_default();
        let Some(event) = by_id.get(&(subscriber.user.as_str(), id)).copied() else {
            report.violate(Invariant::I6NobodyElses, || {
                format!("{} was sent {id:?}, which its user did not publish", subscriber.webhook)
            });
            continue;
        };
        if !subscriber.wants(event) {
            report.violate(Invariant::I6NobodyElses, || {
                format!("{} did not ask for event {id} ({})", subscriber.webhook, event.kind)
            });
        }
        let attempt = request.header("x-sentimatrix-attempt").and_then(|text| text.parse().ok());
        let key = (subscriber.webhook.as_str(), event.id.as_str());
        let delivery = deliveries.entry(key).or_insert_with(|| Delivery {
            subscriber,
            event,
            requests: Vec::new(),
        });
        if attempt.is_none() {
            let name = delivery.name();
            report.violate(Invariant::I4SameBytes, || format!("{name}: no number of the attempt"));
        }
        delivery.requests.push((attempt.unwrap_or(1), request));
    }
    deliveries
}
