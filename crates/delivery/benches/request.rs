//! What a request costs before it is sent: headers, both signatures, the body shared.
#![allow(missing_docs, reason = "criterion makes the entry")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use delivery::{Endpoint, compose};
use domain::{DeliveryId, Event, Origin, Secret, Webhook, WebhookId};
use time::OffsetDateTime;

fn webhook(headers: usize, at: OffsetDateTime) -> Webhook {
    let header = |number: usize| (format!("X-Own-{number}"), format!("value {number}"));
    Webhook {
        id: WebhookId::generate(),
        user: "usr_1".parse().unwrap(),
        name: "bench".into(),
        url: "https://hooks.example.com/services/T00/B00/XXXX".into(),
        events: vec!["*".into()],
        project_ids: Vec::new(),
        filter: None,
        rate_limit: None,
        ordered: false,
        headers: (0..headers).map(header).collect::<BTreeMap<_, _>>().into(),
        secret: Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        previous_secret: None,
        signing_key: None,
        previous_signing_key: None,
        active: true,
        description: None,
        metadata: Default::default(),
        disabled_reason: None,
        disabled_at: None,
        created_at: at,
        updated_at: at,
        request_changed_at: None,
        pending_since: None,
        verified_at: None,
    }
}

fn building(criterion: &mut Criterion) {
    let text = r#"{"id":"evt_0192f0c4a5b67c8d","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{"project_id":"proj_7","project_name":"Amazon Tracker","job_id":"job_def456","status":"completed","targets_scraped":5,"results_count":150,"new_results":25,"duration_seconds":45,"errors":[]}}"#;
    let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
    let now = OffsetDateTime::now_utc();
    let mut group = criterion.benchmark_group("build a request");
    for headers in [0, 5] {
        let webhook = webhook(headers, now);
        let endpoint = Endpoint::new(&webhook, now).unwrap();
        let id = DeliveryId::derive(&event.user, &event.id, webhook.id, "");
        group.bench_function(format!("with {headers} headers of the webhook"), |bencher| {
            bencher.iter(|| compose(black_box(&endpoint), black_box(&event), id, 1, now));
        });
    }
    group.finish();
}

criterion_group!(benches, building);
criterion_main!(benches);
