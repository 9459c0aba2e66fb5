//! What an event costs before its first request: reading it, finding who wants it, signing it.
#![allow(missing_docs, reason = "criterion makes the entry")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use domain::{
    Event, EventSet, Filter, Origin, ProjectId, Secret, Signer, Subscription, Subscriptions,
};

/// An event whose `data` fills about `bytes`.
fn text(bytes: usize) -> String {
    let filling = "x".repeat(bytes.saturating_sub(60));
    format!(
        r#"{{"id":"evt_0192f0c4a5b67c8d","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{{"project_id":"proj_7","results_count":150,"note":"{filling}"}}}}"#
    )
}

fn event(bytes: usize) -> Event {
    Event::from_json(text(bytes).as_bytes(), &Origin::default()).unwrap()
}

/// Does the cost of reading grow with the body alone?
fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse an event");
    for bytes in [350, 4_096, 65_536] {
        let text = text(bytes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{bytes} bytes"), |bencher| {
            bencher.iter(|| Event::from_json(black_box(text.as_bytes()), &Origin::default()));
        });
    }
    group.finish();
}

/// What does a user with many webhooks cost?
fn matching(criterion: &mut Criterion) {
    let event = event(350);
    let mut group = criterion.benchmark_group("match an event");
    for count in [1, 100] {
        let subscriptions: Vec<Subscription> = (0..count)
            .map(|number| {
                let project: ProjectId = format!("proj_{}", number % 10).parse().unwrap();
                Subscription::new(EventSet::parse(["scrape.*"]).unwrap(), vec![project])
            })
            .collect();
        let subscriptions = Subscriptions::new(subscriptions);
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{count} webhooks of its user"), |bencher| {
            bencher.iter(|| subscriptions.wanting(black_box(&event)).count());
        });
    }
    group.finish();
}

/// What do 100 webhooks with the dearest filters that are allowed cost, and the largest event?
fn filtering(criterion: &mut Criterion) {
    const LARGEST: usize = 250 * 1024;
    let numbers = |n: usize| format!(r#"{{"l":{{"$in":[{}]}}}}"#, joined(n * 240..(n + 1) * 240));
    let prefixes = |n: usize| {
        let one = |i: usize| format!(r#"{{"l":{{"$prefix":"{}b"}}}}"#, "a".repeat(n % 10 * 9 + i));
        format!(r#"{{"$or":[{}]}}"#, (0..24).map(one).collect::<Vec<_>>().join(","))
    };
    let paths = |n: usize| {
        let one = |i: usize| format!(r#""k{n}x{i}":1"#);
        format!("{{{}}}", (0..32).map(one).collect::<Vec<_>>().join(","))
    };
    let list =
        |entry: &str| format!(r#""l":[{}]"#, vec![entry; LARGEST / (entry.len() + 1)].join(","));
    let keys = || {
        let one = |n: usize| format!(r#""k{n:06}":1"#);
        (0..LARGEST / 12).map(one).collect::<Vec<_>>().join(",")
    };
    let all = |filter: &dyn Fn(usize) -> String| (0..100).map(filter).collect::<Vec<_>>();
    let kinds = [
        ("$in of 240 numbers", all(&numbers), list("1.5")),
        ("24 prefixes", all(&prefixes), list(&format!("\"{}\"", "a".repeat(120)))),
        ("32 paths", all(&paths), keys()),
    ];
    let mut group = criterion.benchmark_group("match 250 KiB with 100 filters");
    for (name, filters, members) in kinds {
        let subscriptions: Vec<Subscription> = filters
            .iter()
            .map(|filter| {
                Subscription::new(EventSet::parse(["*"]).unwrap(), Vec::new())
                    .filtered(Filter::parse(filter).unwrap())
            })
            .collect();
        let subscriptions = Subscriptions::new(subscriptions);
        let text = format!(
            r#"{{"id":"evt_1","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{{{members}}}}}"#
        );
        let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| subscriptions.wanting(black_box(&event)).count());
        });
    }
    group.finish();
}

fn joined(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// What do the two signatures cost?
fn signing(criterion: &mut Criterion) {
    let signer = Signer::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let mut group = criterion.benchmark_group("sign a body");
    for bytes in [350, 4_096, 65_536] {
        let body = event(bytes).payload;
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{bytes} bytes, X-Sentimatrix-Signature"), |bencher| {
            bencher.iter(|| signer.sign(black_box(&body)));
        });
        group.bench_function(format!("{bytes} bytes, webhook-signature"), |bencher| {
            bencher.iter(|| signer.sign_standard("evt_1", 1_770_033_600, black_box(&body)));
        });
    }
    group.finish();
}

criterion_group!(benches, parsing, matching, filtering, signing);
criterion_main!(benches);
