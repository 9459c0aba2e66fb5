//! Webhooks, events and outcomes to store.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use domain::{
    AttemptFailure, AttemptReport, Cause, DeliveryId, DeliveryStatus, Event, FailureKind, Filter,
    Origin, Secret, UserId, Webhook,
};
use store::{NewWebhook, Outcome, PageRequest, Store, Waits};
use time::OffsetDateTime;

pub(crate) const FIRST_PAGE: PageRequest = PageRequest { page: 1, limit: 100 };

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(crate) fn new_webhook(owner: &str) -> NewWebhook {
    NewWebhook {
        user: user(owner),
        name: "Slack".into(),
        url: "https://hooks.example.com/x".into(),
        events: vec!["scrape.completed".into(), "analysis.*".into()],
        project_ids: vec!["proj_2".parse().unwrap(), "proj_1".parse().unwrap()],
        filter: Some(Filter::parse(r#"{"name":{"$ne":"a\u0000b"}}"#).unwrap()),
        rate_limit: Some(50),
        ordered: false,
        headers: BTreeMap::from([("Authorization".into(), "Bearer header-secret".into())]).into(),
        secret: Secret::new("whsec_first-secret"),
        signing: domain::SigningScheme::Hmac,
        active: true,
        must_verify: false,
        description: Some("Tells the team \u{1f41d}".into()),
        metadata: BTreeMap::from([("team".into(), "a\u{0}b".into())]),
    }
}

pub(crate) async fn webhook(store: &Store, owner: &str) -> Webhook {
    store.create_webhook(new_webhook(owner), 0).await.unwrap()
}

pub(crate) fn event(owner: &str, id: &str, data: &str) -> Event {
    let text = format!(
        r#"{{"id":"{id}","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"{owner}","data":{data}}}"#
    );
    Event::from_json(text.as_bytes(), &Origin::default()).unwrap()
}

/// Now, as exact as the store keeps it.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000).unwrap()
}

/// A deferral before any attempt.
pub(crate) fn planned(webhook: &Webhook, event: &Event) -> Outcome {
    Outcome {
        delivery: DeliveryId::derive(&event.user, &event.id, webhook.id, ""),
        webhook: webhook.id,
        event: event.clone(),
        cause: Cause::Event,
        attempt: 0,
        report: None,
        status: DeliveryStatus::Pending,
        next_attempt_at: Some(now() + Duration::from_secs(600)),
        waits: Waits::No,
        reason: None,
    }
}

/// Attempt `number`, answered 200 for a success and 500 for all else.
pub(crate) fn attempted(
    webhook: &Webhook,
    event: &Event,
    number: u32,
    status: DeliveryStatus,
) -> Outcome {
    let succeeded = status == DeliveryStatus::Success;
    let failure = AttemptFailure {
        kind: FailureKind::Status,
        text: format!("Internal Server Error {number}"),
    };
    let report = AttemptReport {
        started_at: now(),
        duration: Duration::from_millis(u64::from(number) * 10),
        status: Some(if succeeded { 200 } else { 500 }),
        address: Some(([93, 184, 216, 34], 443).into()),
        response: Bytes::from(format!("answer {number}")),
        retry_after: None,
        failure: (!succeeded).then_some(failure),
    };
    let due = (!status.is_final()).then(|| now() + Duration::from_secs(60));
    Outcome {
        attempt: number,
        report: Some(report),
        status,
        next_attempt_at: due,
        ..planned(webhook, event)
    }
}
