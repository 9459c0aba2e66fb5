//! Coming back: nothing is missed and nothing comes twice, or the client is told.

use std::time::Duration;

use gateway::GatewayConfig;
use serde_json::{Value, json};

use crate::studio::{Client, Studio, event, token};

fn subscribe(projects: &[&str], since: &str) -> Value {
    json!({ "type": "subscribe", "project_ids": projects, "since": since })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_comes_before_what_is_live() {
    let studio = Studio::start().await;
    let mut client = studio.watching("ann", "*").await;
    studio.publish("evt_1", "ann", "p1").await;
    assert_eq!(client.event_id().await, "evt_1");
    drop(client);
    for (id, user, project) in [
        ("evt_2", "ann", "p1"),
        ("evt_b", "bob", "p1"),
        ("evt_3", "ann", "p2"),
        ("evt_4", "ann", "p1"),
    ] {
        studio.publish(id, user, project).await;
    }
    let mut client = studio.client("ann").await;
    let answer = client.ask(&subscribe(&["p1"], "evt_1")).await;
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(true), &json!(2)));
    assert_eq!(
        (client.event_id().await, client.event_id().await),
        ("evt_2".into(), "evt_4".into())
    );
    studio.publish("evt_5", "ann", "p1").await;
    assert_eq!(client.event_id().await, "evt_5");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_projects_are_resumed_together_and_in_one_order() {
    let studio = Studio::start().await;
    for (number, project) in ["p1", "p2", "p3", "p1", "p2"].iter().enumerate() {
        studio.publish(&format!("evt_{number}"), "ann", project).await;
    }
    let mut client = studio.client("ann").await;
    client.say(&subscribe(&["p1", "p2"], "evt_0")).await;
    for project in ["p1", "p2"] {
        let answer = client.json().await;
        assert_eq!(
            (&answer["type"], &answer["project_id"]),
            (&json!("subscribed"), &json!(project))
        );
        assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(true), &json!(3)));
    }
    for id in ["evt_1", "evt_3", "evt_4"] {
        assert_eq!(client.event_id().await, id);
    }
    client.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_unknown_or_of_another_user_recovers_nothing() {
    let studio = Studio::start().await;
    studio.publish("evt_a", "ann", "p1").await;
    studio.publish("evt_b", "bob", "p1").await;
    let mut witness = studio.client("bob").await;
    while witness.ask(&subscribe(&["*"], "evt_b")).await["recovered"] != true {}
    let mut client = studio.client("ann").await;
    for since in ["evt_b", "evt_unknown", "no id", ""] {
        let answer = client.ask(&subscribe(&["*"], since)).await;
        assert_eq!(answer["recovered"], false, "{since}");
        assert_eq!(answer["last_event_id"], "evt_a", "here it may go on from");
    }
    client.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_has_seen_nothing_yet_resumes_from_where_it_subscribed() {
    let studio = Studio::start().await;
    let mut client = studio.watching("ann", "*").await;
    studio.publish("evt_1", "ann", "p1").await;
    assert_eq!(client.event_id().await, "evt_1");
    let mut late = studio.client("ann").await;
    let answer = late.ask(&json!({ "type": "subscribe", "project_id": "p1" })).await;
    assert_eq!(answer["last_event_id"], "evt_1");
    drop(late);
    studio.publish("evt_2", "ann", "p1").await;
    assert_eq!(client.event_id().await, "evt_2");
    let mut late = studio.client("ann").await;
    assert_eq!(late.ask(&subscribe(&["p1"], "evt_1")).await["replayed"], 1);
    assert_eq!(late.event_id().await, "evt_2");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_replayed_is_never_a_part() {
    let config = GatewayConfig { replay_events: 3, ..GatewayConfig::default() };
    let studio = Studio::with(config).await;
    let mut client = studio.watching("ann", "*").await;
    for number in 0..5 {
        studio.publish(&format!("evt_{number}"), "ann", "p1").await;
        client.event_id().await;
    }
    let mut back = studio.client("ann").await;
    assert_eq!(back.ask(&subscribe(&["*"], "evt_0")).await["recovered"], false);
    back.has_nothing().await;
    let mut back = studio.client("ann").await;
    assert_eq!(back.ask(&subscribe(&["*"], "evt_1")).await["replayed"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_that_starts_later_recovers_the_same() {
    let studio = Studio::start().await;
    for number in 0..5 {
        studio.publish(&format!("evt_{number}"), "ann", "p1").await;
    }
    let second = studio.another_gateway().await;
    let mut client = Client::connect(second.address, &token("ann")).await;
    let answer = client.ask(&subscribe(&["*"], "evt_1")).await;
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(true), &json!(3)));
    for number in 2..5 {
        assert_eq!(client.event_id().await, format!("evt_{number}"));
    }
}

/// Clients that come back a thousand times, at any moment, while their events are published
/// without a pause, see every one once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_returns_while_events_are_published_leave_no_gap_and_no_double() {
    const CLIENTS: usize = 10;
    const ROUNDS: usize = 100;
    // More often than a user may by default.
    let config = GatewayConfig { resumes_per_second: 10_000, ..GatewayConfig::default() };
    let studio = std::sync::Arc::new(Studio::with(config).await);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let studio = studio.clone();
        clients.push(tokio::spawn(async move {
            // Two watch one project, the others everything.
            let projects: &[&str] = if number < 2 { &["p0"] } else { &["*"] };
            let user = format!("user{}", number % 3);
            returns(&studio, &user, projects, ROUNDS, number).await
        }));
    }
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let publishing = tokio::spawn(publish_until(studio.clone(), done.clone()));
    for client in clients {
        client.await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Release);
    assert!(publishing.await.unwrap() > 1_000, "events were published all the time");
}

async fn publish_until(
    studio: std::sync::Arc<Studio>,
    done: std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> usize {
    use broker::{Outgoing, Target};
    let mut number = 0;
    while !done.load(std::sync::atomic::Ordering::Acquire) {
        // Ids count up for each user and project: `evt_PROJECT_NUMBER`.
        let batch = (0..6).map(|part| {
            let (user, project) = (part % 3, part / 3);
            let id = format!("evt_{project}_{number}");
            event(&id, &format!("user{user}"), &format!("p{project}"))
        });
        let batch: Vec<_> =
            batch.map(|event| (Target::Events(event.kind), Outgoing::event(&event))).collect();
        for result in studio.broker.publish_all(batch).await {
            result.unwrap();
        }
        number += 1;
    }
    number * 6
}

/// Comes back `rounds` times; whatever arrives must be what follows.
async fn returns(studio: &Studio, user: &str, projects: &[&str], rounds: usize, seed: usize) {
    let mut since: Option<String> = None;
    let mut next: [Option<usize>; 2] = [None, None];
    for round in 0..rounds {
        let mut client = studio.client(user).await;
        let mut ask = json!({ "type": "subscribe", "project_ids": projects });
        if let Some(since) = &since {
            ask["since"] = json!(since);
        }
        let answer = client.ask(&ask).await;
        if since.is_some() {
            assert_eq!(answer["recovered"], true, "{answer}");
        }
        // Cut at another place each time: within the replay, at its end, behind it.
        let replayed = answer["replayed"].as_u64().unwrap_or(0) as usize;
        let wanted = 1 + (round * 7 + seed) % (replayed + 4);
        for _ in 0..wanted {
            let id = client.event_id().await;
            let (project, number) = id["evt_".len()..].split_once('_').unwrap();
            let (project, number): (usize, usize) =
                (project.parse().unwrap(), number.parse().unwrap());
            if let Some(expected) = next[project] {
                assert_eq!(number, expected, "round {round} of {user} {projects:?}");
            }
            next[project] = Some(number + 1);
            since = Some(id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_is_a_place_to_resume_from_after_it_has_expired() {
    let config = GatewayConfig { resume_events: 1, ..GatewayConfig::default() };
    let studio = Studio::with(config).await;
    let mut client = studio.watching("ann", "*").await;
    studio.publish("evt_1", "ann", "p1").await;
    client.event_id().await;
    for number in 0..20 {
        studio.publish(&format!("other_{number}"), "bob", "p1").await;
    }
    // Until the ring holds none of ann's.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut back = studio.client("ann").await;
    let answer = back.ask(&subscribe(&["*"], "evt_1")).await;
    assert_eq!((&answer["recovered"], &answer["replayed"]), (&json!(true), &json!(0)));
}
