//! The comparison: each invariant is one function.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::deliveries::{Deliveries, Delivery, collect, is_taken};
use super::{Evidence, Invariant, LogRow, Report};
use crate::signature;

/// Not work that is left over: what was rejected is kept for people, history for gateways.
const KEPT_QUEUES: [&str; 2] = ["studio.rejected", "studio.history"];

/// How long the product may take to come back by itself.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Compares the records and names everything that is not as it must be.
#[must_use]
pub fn check(evidence: &Evidence<'_>) -> Report {
    let mut report = Report { requests: evidence.requests.len(), ..Report::default() };
    let deliveries = collect(evidence, &mut report);
    delivered(evidence, &deliveries, &mut report);
    if let Some(logs) = evidence.logs {
        logged_once(evidence, logs, &deliveries, &mut report);
    }
    on_time(evidence, &deliveries, &mut report);
    same_bytes(&deliveries, &mut report);
    few_duplicates(evidence, &deliveries, &mut report);
    back_alone(evidence, &mut report);
    queues_empty(evidence.queues, &mut report);
    report.lateness.sort_unstable();
    report
}

fn attempts_in_all(evidence: &Evidence<'_>) -> u32 {
    u32::try_from(evidence.schedule.len()).unwrap_or(u32::MAX - 1) + 1
}

fn delivered(evidence: &Evidence<'_>, deliveries: &Deliveries<'_>, report: &mut Report) {
    let all = attempts_in_all(evidence);
    let logs = rows_by_key(evidence.logs.unwrap_or_default());
    for event in evidence.published.iter().filter(|event| event.confirmed) {
        for subscriber in evidence.subscribers.iter().filter(|one| one.wants(event)) {
            report.expected += 1;
            let key = (subscriber.webhook.as_str(), event.id.as_str());
            let delivery = deliveries.get(&key);
            let tried = delivery.map_or(0, |delivery| delivery.first_arrivals().len());
            if delivery.is_some_and(Delivery::taken) {
                report.delivered += 1;
                continue;
            }
            // An attempt that was refused a connection reached nobody: the log knows of it.
            let stands_as_failed = logs.get(&key).is_some_and(|rows| {
                rows.iter().any(|row| row.status == "failed" && row.attempts.len() == all as usize)
            });
            if stands_as_failed || (evidence.logs.is_none() && tried == all as usize) {
                report.failed += 1;
                continue;
            }
            report.violate(Invariant::I1Delivered, || {
                format!(
                    "confirmed event {} of {} was not taken by {} and has not failed: {tried} attempts seen",
                    event.id, event.user, subscriber.webhook
                )
            });
        }
    }
}

fn rows_by_key(logs: &[LogRow]) -> HashMap<(&str, &str), Vec<&LogRow>> {
    let mut rows: HashMap<(&str, &str), Vec<&LogRow>> = HashMap::new();
    for row in logs {
        rows.entry((row.webhook.as_str(), row.event.as_str())).or_default().push(row);
    }
    rows
}

fn logged_once(
    evidence: &Evidence<'_>,
    logs: &[LogRow],
    deliveries: &Deliveries<'_>,
    report: &mut Report,
) {
    let all = attempts_in_all(evidence);
    let rows = rows_by_key(logs);
    for ((webhook, event), rows) in &rows {
        if rows.len() > 1 {
            let many = rows.len();
            report.violate(Invariant::I2LoggedOnce, || {
                format!("event {event} for {webhook} is logged {many} times")
            });
        }
        for row in rows {
            let gapless = (1..=all).take(row.attempts.len()).eq(row.attempts.iter().copied());
            if !gapless || row.attempts.len() > all as usize {
                report.violate(Invariant::I2LoggedOnce, || {
                    format!("event {event} for {webhook} has the attempts {:?}", row.attempts)
                });
            }
            agrees(row, deliveries.get(&(*webhook, *event)), report);
        }
    }
    for (_, delivery) in deliveries.iter().filter(|(key, _)| !rows.contains_key(*key)) {
        report.violate(Invariant::I2LoggedOnce, || format!("{} is not logged", delivery.name()));
    }
}

/// The log against what the endpoint saw.
fn agrees(row: &LogRow, delivery: Option<&Delivery<'_>>, report: &mut Report) {
    let (webhook, event) = (&row.webhook, &row.event);
    let taken = delivery.is_some_and(Delivery::taken);
    if row.status == "success" && !taken {
        report.violate(Invariant::I2LoggedOnce, || {
            format!("event {event} for {webhook} is logged as a success nobody saw")
        });
    }
    let Some(delivery) = delivery else { return };
    let unlogged = |attempt: &u32| !row.attempts.contains(attempt);
    for attempt in delivery.first_arrivals().into_keys().filter(unlogged) {
        report.violate(Invariant::I2LoggedOnce, || {
            format!("attempt {attempt} of event {event} for {webhook} is not logged")
        });
    }
}

fn on_time(evidence: &Evidence<'_>, deliveries: &Deliveries<'_>, report: &mut Report) {
    for delivery in deliveries.values() {
        let arrivals = delivery.first_arrivals();
        if let Some(first) = arrivals.values().map(|request| request.unix_us).min()
            && first < delivery.event.since_us
        {
            report.violate(Invariant::I3OnTime, || {
                format!("{}: arrived before it was published", delivery.name())
            });
        }
        for (attempt, request) in &arrivals {
            let Some(before) = attempt.checked_sub(1).and_then(|n| arrivals.get(&n)) else {
                continue;
            };
            let Some(wait) = evidence.schedule.get(*attempt as usize - 2) else { continue };
            let waited = request.at.saturating_duration_since(before.at);
            match waited.checked_sub(*wait) {
                Some(late) => report.lateness.push(late),
                None => report.violate(Invariant::I3OnTime, || {
                    format!(
                        "{}: attempt {attempt} came after {waited:?} instead of {wait:?}",
                        delivery.name()
                    )
                }),
            }
        }
    }
}

fn same_bytes(deliveries: &Deliveries<'_>, report: &mut Report) {
    let mut names: HashMap<&str, String> = HashMap::new();
    for delivery in deliveries.values() {
        let mut ids = BTreeSet::new();
        let key = signature::keyed(delivery.subscriber.secret.as_bytes());
        let hash: [u8; 32] = Sha256::digest(&delivery.event.payload).into();
        let expected = signature::specification(&key, &delivery.event.payload);
        for (attempt, request) in &delivery.requests {
            ids.insert(request.header("x-sentimatrix-delivery").unwrap_or_default());
            let mut wrong = |what: &str| {
                report.violate(Invariant::I4SameBytes, || {
                    format!("{}, attempt {attempt}: {what}", delivery.name())
                });
            };
            if request.body_hash != hash {
                wrong("the body is not what was published");
            }
            if request.header("x-sentimatrix-signature") != Some(&expected) {
                wrong("X-Sentimatrix-Signature does not verify");
            }
            if !standard_verifies(delivery, request) {
                wrong("webhook-signature does not verify");
            }
        }
        one_id(delivery, &ids, &mut names, report);
    }
}

fn standard_verifies(delivery: &Delivery<'_>, request: &crate::receiver::Recorded) -> bool {
    let (Some(timestamp), Some(signatures)) =
        (request.header("webhook-timestamp"), request.header("webhook-signature"))
    else {
        return false;
    };
    let (secret, event) = (&delivery.subscriber.secret, delivery.event);
    let expected = signature::standard(secret, &event.id, timestamp, &event.payload);
    signatures.split(' ').any(|signature| signature == expected)
}

/// A delivery has one id, and no two have the same.
fn one_id<'a>(
    delivery: &Delivery<'_>,
    ids: &BTreeSet<&'a str>,
    names: &mut HashMap<&'a str, String>,
    report: &mut Report,
) {
    if ids.len() != 1 || ids.contains("") {
        report.violate(Invariant::I4SameBytes, || {
            format!("{}: X-Sentimatrix-Delivery was {ids:?}", delivery.name())
        });
    }
    for id in ids {
        if let Some(other) = names.insert(id, delivery.name()) {
            report.violate(Invariant::I4SameBytes, || {
                format!("{} and {other} have the same X-Sentimatrix-Delivery", delivery.name())
            });
        }
    }
}

fn few_duplicates(evidence: &Evidence<'_>, deliveries: &Deliveries<'_>, report: &mut Report) {
    for delivery in deliveries.values() {
        let (mut seen, mut taken) = (BTreeSet::new(), false);
        for (attempt, request) in &delivery.requests {
            report.duplicates += usize::from(taken || !seen.insert(*attempt));
            taken |= is_taken(request);
        }
    }
    let (duplicates, allowed) = (report.duplicates, evidence.duplicates_allowed);
    if duplicates > allowed {
        report.violate(Invariant::I5FewDuplicates, || {
            format!("{duplicates} duplicates; {allowed} requests were under way at the faults")
        });
    }
}

fn back_alone(evidence: &Evidence<'_>, report: &mut Report) {
    for recovery in evidence.recoveries {
        let fault = &recovery.fault;
        let mut limit = |broken: bool, what: String| {
            if broken {
                report.violate(Invariant::I7BackAlone, || format!("{fault}: {what}"));
            }
        };
        let back = recovery.back_after;
        limit(back > BACK_WITHIN, format!("back after {back:?}"));
        let ratio = recovery.memory_ratio;
        limit(ratio > 1.2, format!("{ratio:.2} times the memory of before"));
        let share = recovery.cpu_share;
        limit(share >= 0.05, format!("{:.1} % of a core while it lasted", share * 100.0));
        let lines = recovery.log_lines_per_minute;
        limit(lines > 10.0, format!("{lines:.0} log lines a minute while it lasted"));
    }
}

/// Whether nothing may be left in the queue of this name (I8).
#[must_use]
pub fn must_end_empty(queue: &str) -> bool {
    !KEPT_QUEUES.contains(&queue)
}

fn queues_empty(queues: &BTreeMap<String, u64>, report: &mut Report) {
    let left = queues.iter().filter(|(name, depth)| **depth > 0 && must_end_empty(name));
    for (name, depth) in left {
        report.violate(Invariant::I8QueuesEmpty, || format!("{name} holds {depth} messages"));
    }
}
