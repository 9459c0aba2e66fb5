//! A small history in which all is well, broken in one place at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::{Evidence, Invariant, Ledger, LogRow, Published, Recovery, Report, Subscriber, check};
use crate::event::SampleEvent;
use crate::receiver::Recorded;
use crate::signature;

const SCHEDULE: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
];

/// Everything the checker is shown; the tests change it.
struct History {
    start: Instant,
    published: Vec<Published>,
    subscribers: Vec<Subscriber>,
    requests: Vec<Recorded>,
    logs: Vec<LogRow>,
    recoveries: Vec<Recovery>,
    queues: BTreeMap<String, u64>,
    duplicates_allowed: usize,
}

fn subscriber(webhook: &str, user: &str, event: &str) -> Subscriber {
    Subscriber {
        webhook: webhook.into(),
        path: format!("/{webhook}"),
        user: user.into(),
        events: vec![event.into()],
        projects: Vec::new(),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(),
        active: true,
    }
}

impl History {
    /// User `u` published `evt_1` (taken at once by `wh_a`) and `evt_2`, which `wh_a` took at its
    /// third attempt and `wh_b` never.
    fn well() -> Self {
        let ledger = Ledger::new();
        for id in ["evt_1", "evt_2"] {
            let event = SampleEvent::new(id, "u", "p");
            let event = if id == "evt_2" { event.of_kind("scrape.failed") } else { event };
            ledger.attempted(&event);
            ledger.confirmed(&event);
        }
        let mut history = Self {
            start: Instant::now(),
            published: ledger.events(),
            subscribers: vec![
                subscriber("wh_a", "u", "scrape.*"),
                subscriber("wh_b", "u", "scrape.failed"),
                subscriber("wh_other", "v", "*"),
            ],
            requests: Vec::new(),
            logs: Vec::new(),
            recoveries: vec![Recovery {
                fault: "kill -9".into(),
                back_after: Duration::from_secs(3),
                memory_ratio: 1.0,
                cpu_share: 0.01,
                log_lines_per_minute: 2.0,
            }],
            queues: BTreeMap::from([("studio.dispatch".into(), 0), ("studio.rejected".into(), 3)]),
            duplicates_allowed: 0,
        };
        history.arrive("wh_a", "evt_1", 1, 0, 200);
        history.arrive("wh_a", "evt_2", 1, 0, 500);
        history.arrive("wh_a", "evt_2", 2, 1_000, 500);
        history.arrive("wh_a", "evt_2", 3, 3_050, 200);
        for (attempt, at) in [(1, 0), (2, 1_001), (3, 3_002), (4, 6_003), (5, 10_004)] {
            history.arrive("wh_b", "evt_2", attempt, at, 503);
        }
        history.log("wh_a", "evt_1", "success", 1);
        history.log("wh_a", "evt_2", "success", 3);
        history.log("wh_b", "evt_2", "failed", 5);
        history
    }

    fn event(&self, id: &str) -> &Published {
        self.published.iter().find(|event| event.id == id).unwrap()
    }

    fn arrive(&mut self, webhook: &str, event: &str, attempt: u32, at_ms: u64, status: u16) {
        let published = self.event(event).clone();
        let secret = &self.subscribers.iter().find(|one| one.webhook == webhook).unwrap().secret;
        let mut headers = HeaderMap::new();
        let key = signature::keyed(secret.as_bytes());
        let timestamp = "1770033600";
        for (name, value) in [
            ("webhook-id", published.id.clone()),
            ("webhook-timestamp", timestamp.into()),
            (
                "webhook-signature",
                signature::standard(secret, event, timestamp, &published.payload),
            ),
            ("x-sentimatrix-signature", signature::specification(&key, &published.payload)),
            ("x-sentimatrix-delivery", format!("log_{webhook}_{event}")),
            ("x-sentimatrix-attempt", attempt.to_string()),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        }
        self.requests.push(Recorded {
            at: self.start + Duration::from_millis(at_ms),
            unix_us: published.since_us + at_ms * 1_000,
            method: hyper::Method::POST,
            path: format!("/{webhook}"),
            headers,
            body: None,
            body_hash: Sha256::digest(&published.payload).into(),
            answered: Some(status),
        });
    }

    fn log(&mut self, webhook: &str, event: &str, status: &str, attempts: u32) {
        self.logs.push(LogRow {
            webhook: webhook.into(),
            delivery: format!("log_{webhook}_{event}"),
            event: event.into(),
            status: status.into(),
            attempts: (1..=attempts).collect(),
        });
    }

    fn last(&mut self) -> &mut Recorded {
        self.requests.last_mut().unwrap()
    }

    fn check(&self) -> Report {
        check(&Evidence {
            published: &self.published,
            subscribers: &self.subscribers,
            requests: &self.requests,
            logs: Some(&self.logs),
            schedule: &SCHEDULE,
            duplicates_allowed: self.duplicates_allowed,
            recoveries: &self.recoveries,
            queues: &self.queues,
        })
    }

    #[track_caller]
    fn breaks(&self, invariant: Invariant) {
        let report = self.check();
        assert_eq!(report.broken(), [invariant], "{report}");
    }
}

#[test]
fn a_history_without_fault_is_clean_and_counted() {
    let report = History::well().check();
    report.assert_clean();
    assert_eq!((report.expected, report.delivered, report.failed), (3, 2, 1));
    assert_eq!((report.requests, report.duplicates), (9, 0));
    assert_eq!(report.lateness.last(), Some(&Duration::from_millis(50)));
}

#[test]
fn without_a_log_five_attempts_seen_are_a_failure() {
    let mut history = History::well();
    let evidence = |history: &History| {
        check(&Evidence {
            logs: None,
            published: &history.published,
            subscribers: &history.subscribers,
            requests: &history.requests,
            schedule: &SCHEDULE,
            duplicates_allowed: 0,
            recoveries: &[],
            queues: &BTreeMap::new(),
        })
    };
    evidence(&history).assert_clean();
    history.requests.pop();
    assert_eq!(evidence(&history).broken(), [Invariant::I1Delivered]);
}

#[test]
fn a_lost_event_is_named() {
    let mut history = History::well();
    history.requests.remove(0);
    history.logs.remove(0);
    history.breaks(Invariant::I1Delivered);
    assert!(history.check().to_string().contains("evt_1"));
    // Never confirmed, it may be lost.
    history.published[0].confirmed = false;
    history.check().assert_clean();
}

#[test]
fn a_delivery_given_up_before_its_last_attempt_is_named() {
    let mut history = History::well();
    history.requests.pop();
    history.logs[2].attempts.pop();
    history.breaks(Invariant::I1Delivered);
}

#[test]
fn a_second_log_row_is_named() {
    let mut history = History::well();
    history.log("wh_a", "evt_1", "success", 1);
    history.breaks(Invariant::I2LoggedOnce);
}

#[test]
fn a_missing_log_row_is_named() {
    let mut history = History::well();
    history.logs.remove(0);
    history.breaks(Invariant::I2LoggedOnce);
}

#[test]
fn a_gap_in_the_attempts_is_named() {
    let mut history = History::well();
    history.logs[1].attempts = vec![1, 3];
    history.breaks(Invariant::I2LoggedOnce);
}

#[test]
fn a_success_that_nobody_saw_is_named() {
    let mut history = History::well();
    history.logs[2].status = "success".into();
    let report = history.check();
    assert!(report.broken().contains(&Invariant::I2LoggedOnce), "{report}");
}

#[test]
fn a_sixth_attempt_is_named() {
    let mut history = History::well();
    history.arrive("wh_b", "evt_2", 6, 15_000, 503);
    history.breaks(Invariant::I2LoggedOnce);
}

#[test]
fn an_attempt_a_microsecond_early_is_named() {
    let mut history = History::well();
    history.requests[2].at -= Duration::from_micros(1);
    history.breaks(Invariant::I3OnTime);
}

#[test]
fn an_arrival_before_the_publishing_is_named() {
    let mut history = History::well();
    history.requests[0].unix_us -= 1;
    history.breaks(Invariant::I3OnTime);
}

#[test]
fn another_body_is_named() {
    let mut history = History::well();
    history.last().body_hash[0] ^= 1;
    history.breaks(Invariant::I4SameBytes);
}

#[test]
fn a_wrong_signature_is_named() {
    for header in ["x-sentimatrix-signature", "webhook-signature"] {
        let mut history = History::well();
        history.last().headers.insert(header, HeaderValue::from_static("sha256=00"));
        history.breaks(Invariant::I4SameBytes);
    }
}

#[test]
fn a_delivery_id_that_changes_or_is_shared_is_named() {
    for id in ["log_new", "log_wh_a_evt_1"] {
        let mut history = History::well();
        let value = HeaderValue::from_static(id);
        history.last().headers.insert("x-sentimatrix-delivery", value);
        history.breaks(Invariant::I4SameBytes);
    }
}

#[test]
fn more_duplicates_than_work_under_way_are_named() {
    let mut history = History::well();
    history.arrive("wh_a", "evt_1", 1, 5_000, 200);
    history.breaks(Invariant::I5FewDuplicates);
    history.duplicates_allowed = 1;
    history.check().assert_clean();
    assert_eq!(history.check().duplicates, 1);
}

#[test]
fn an_attempt_after_a_success_is_a_duplicate() {
    let mut history = History::well();
    history.arrive("wh_a", "evt_1", 2, 5_000, 200);
    history.logs[0].attempts.push(2);
    history.breaks(Invariant::I5FewDuplicates);
}

#[test]
fn an_event_of_another_user_is_named() {
    let mut history = History::well();
    history.arrive("wh_other", "evt_1", 1, 0, 200);
    history.breaks(Invariant::I6NobodyElses);
}

#[test]
fn what_a_webhook_did_not_ask_for_is_named() {
    let mut history = History::well();
    history.arrive("wh_b", "evt_1", 1, 0, 200);
    history.log("wh_b", "evt_1", "success", 1);
    history.breaks(Invariant::I6NobodyElses);
    // The same of a webhook that is switched off, or wants another project.
    let changes: [fn(&mut Subscriber); 2] =
        [|one| one.active = false, |one| one.projects = vec!["q".into()]];
    for change in changes {
        let mut history = History::well();
        change(&mut history.subscribers[0]);
        history.breaks(Invariant::I6NobodyElses);
    }
}

#[test]
fn a_slow_growing_spinning_or_shouting_recovery_is_named() {
    let changes: [fn(&mut Recovery); 4] = [
        |recovery| recovery.back_after = Duration::from_millis(10_001),
        |recovery| recovery.memory_ratio = 1.3,
        |recovery| recovery.cpu_share = 0.06,
        |recovery| recovery.log_lines_per_minute = 11.0,
    ];
    for change in changes {
        let mut history = History::well();
        change(&mut history.recoveries[0]);
        history.breaks(Invariant::I7BackAlone);
    }
}

#[test]
fn a_queue_that_is_not_empty_is_named() {
    let mut history = History::well();
    history.queues.insert("studio.deliver".into(), 1);
    history.breaks(Invariant::I8QueuesEmpty);
}

#[test]
fn a_thousand_violations_are_counted_and_ten_told() {
    let mut history = History::well();
    history.duplicates_allowed = 2_000;
    for _ in 0..1_000 {
        history.arrive("wh_a", "evt_1", 1, 1, 200);
        history.last().body_hash = [0; 32];
    }
    let report = history.check();
    assert_eq!(report.counts[&Invariant::I4SameBytes], 1_000);
    assert_eq!(report.violations.len(), 10);
}
