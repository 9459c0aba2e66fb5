//! Outcomes as the columns of their tables.

use std::collections::BTreeMap;

use domain::{AttemptReport, DeliveryStatus, Event};
use uuid::Uuid;

use crate::bulk::{Column, Field, field, nullable};
use crate::instant::{now, to_micros};
use crate::{Outcome, Waits};

/// The events, each once and sorted by key, so that two dispatchers lock rows in one order.
pub(crate) fn events(outcomes: &[Outcome]) -> Vec<Field> {
    let events: BTreeMap<Uuid, &Event> =
        outcomes.iter().map(|o| (o.event.key().0, &o.event)).collect();
    let all = || events.values();
    vec![
        field("key", Column::Uuid(events.keys().copied().collect())),
        field("user_id", Column::Text(all().map(|e| e.user.to_string()).collect())),
        field("event_id", Column::Text(all().map(|e| e.id.to_string()).collect())),
        field("kind", Column::Text(all().map(|e| e.kind.to_string()).collect())),
        field("created_at", Column::BigInt(vec![to_micros(now()); events.len()])),
        field("payload", Column::Bytes(all().map(|e| e.payload.to_vec()).collect())),
    ]
}

/// Where the deliveries stand after these outcomes.
pub(crate) fn deliveries(o: &[&Outcome]) -> Vec<Field> {
    vec![
        field("id", Column::Uuid(each(o, |o| o.delivery.as_uuid()))),
        field("webhook_id", Column::Uuid(each(o, |o| o.webhook.as_uuid()))),
        field("event_key", Column::Uuid(each(o, |o| o.event.key().0))),
        field("event_kind", Column::Text(each(o, |o| o.event.kind.to_string()))),
        field("status", Column::SmallInt(each(o, |o| o.status as i16))),
        field("cause", Column::SmallInt(each(o, |o| o.cause as i16))),
        field("attempts", Column::Int(each(o, number))),
        nullable("status_code", status_codes(o)),
        nullable("error", Column::Text(each(o, failure_text))),
        nullable("response_time_ms", Column::BigInt(each(o, |o| reported(o, -1, millis)))),
        field("triggered_at", Column::BigInt(each(o, triggered_at))),
        nullable("next_attempt_at", Column::BigInt(each(o, next_attempt_at))),
        field("payload_size", Column::BigInt(each(o, |o| length(o.event.payload.len())))),
        nullable("response_body", Column::Text(each(o, |o| at_once(o, body)))),
        nullable("address", Column::Text(each(o, |o| at_once(o, address)))),
        nullable("waiting_at", Column::BigInt(each(o, |o| stands_at(o).map_or(-1, |at| at.1)))),
        nullable("partition_key", Column::BigInt(each(o, |o| stands_at(o).map_or(-1, |at| at.0)))),
        nullable("parked", Column::SmallInt(each(o, parked))),
    ]
}

/// The partition and the place in it of a delivery that goes on in a backlog.
pub(crate) fn stands_at(outcome: &Outcome) -> Option<(i64, i64)> {
    match outcome.waits {
        Waits::InBacklog { partition, place } if !outcome.status.is_final() => {
            Some((partition, place))
        }
        _ => None,
    }
}

fn parked(outcome: &Outcome) -> i16 {
    if outcome.waits == Waits::Parked && !outcome.status.is_final() { 1 } else { -1 }
}

/// Whether the delivery succeeded with its first attempt: all of it stands in the delivery's row.
pub(crate) fn succeeded_at_once(outcome: &Outcome) -> bool {
    outcome.attempt == 1
        && outcome.status == DeliveryStatus::Success
        && outcome.report.as_ref().is_some_and(|report| report.failure.is_none())
}

fn at_once(outcome: &Outcome, read: impl Fn(&AttemptReport) -> String) -> String {
    if succeeded_at_once(outcome) { reported(outcome, String::new(), read) } else { String::new() }
}

fn body(report: &AttemptReport) -> String {
    storable(&String::from_utf8_lossy(&report.response))
}

fn address(report: &AttemptReport) -> String {
    report.address.map_or_else(String::new, |address| address.to_string())
}

/// The attempts that need a row of their own; all outcomes have a report.
pub(crate) fn attempts(o: &[&Outcome]) -> Vec<Field> {
    let kind = |r: &AttemptReport| {
        r.failure.as_ref().map_or_else(String::new, |f| f.kind.as_str().to_owned())
    };
    vec![
        field("delivery_id", Column::Uuid(each(o, |o| o.delivery.as_uuid()))),
        field("number", Column::Int(each(o, number))),
        field("started_at", Column::BigInt(each(o, triggered_at))),
        field("response_time_ms", Column::BigInt(each(o, |o| reported(o, 0, millis)))),
        nullable("status_code", status_codes(o)),
        nullable("error_kind", Column::Text(each(o, |o| reported(o, String::new(), kind)))),
        nullable("error", Column::Text(each(o, failure_text))),
        nullable("response_body", Column::Text(each(o, |o| reported(o, String::new(), body)))),
        nullable("address", Column::Text(each(o, |o| reported(o, String::new(), address)))),
    ]
}

/// When the attempt was made, or, without one, now.
pub(crate) fn triggered_at(outcome: &Outcome) -> i64 {
    to_micros(outcome.report.as_ref().map_or_else(now, |report| report.started_at))
}

/// Text of others without control characters: PostgreSQL refuses NUL, and terminals obey others.
/// Line ends and tabs stay.
pub(crate) fn storable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).collect()
}

fn each<T>(outcomes: &[&Outcome], read: impl Fn(&Outcome) -> T) -> Vec<T> {
    outcomes.iter().map(|outcome| read(outcome)).collect()
}

fn reported<T>(outcome: &Outcome, none: T, read: impl Fn(&AttemptReport) -> T) -> T {
    outcome.report.as_ref().map_or(none, read)
}

fn number(outcome: &Outcome) -> i32 {
    i32::try_from(outcome.attempt).unwrap_or(i32::MAX)
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn millis(report: &AttemptReport) -> i64 {
    i64::try_from(report.response_time().as_millis()).unwrap_or(i64::MAX)
}

/// Why the attempt failed, or why there was none.
fn failure_text(outcome: &Outcome) -> String {
    let failure = outcome.report.as_ref().and_then(|report| report.failure.as_ref());
    let text = failure.map(|failure| failure.text.as_str());
    text.or(outcome.reason.as_deref()).map_or_else(String::new, storable)
}

/// Status codes of answers, -1 for none.
fn status_codes(outcomes: &[&Outcome]) -> Column {
    Column::Int(each(outcomes, |o| reported(o, -1, |r| r.status.map_or(-1, i32::from))))
}

/// When the delivery is due: always before it has ended, unless it waits for its turn; -1 for
/// never.
fn next_attempt_at(outcome: &Outcome) -> i64 {
    if outcome.status.is_final() {
        return -1;
    }
    let due = outcome.next_attempt_at.map(to_micros);
    due.unwrap_or_else(|| if stands_at(outcome).is_some() { -1 } else { to_micros(now()) })
}

#[cfg(test)]
mod tests {
    use super::storable;

    #[test]
    fn text_of_endpoints_loses_what_terminals_and_databases_mind() {
        assert_eq!(storable("a\0b\u{1b}[31mc\u{9b}d\r\n\te"), "ab[31mcd\r\n\te");
    }
}
