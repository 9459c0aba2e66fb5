//! A message that ends whoever works on it is parked, and the others are delivered.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::on_both;
use crate::support::studio::{Backend, Studio};
use crate::support::wait_for;

fn rejected(studio: &Studio) -> Vec<Value> {
    studio.json_of(&["rejected", "list", "--json"]).as_array().unwrap().clone()
}

async fn a_message_that_ends_the_process_is_parked_and_the_others_are_delivered(backend: Backend) {
    let studio = Studio::start(backend).await;
    let name = backend.worker();
    let endpoint = Endpoint::slow(Duration::from_millis(300)).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let events = Published::several("usr_1", 60);
    let poison = &events[20];
    // Killed with everything under way: all of them come back, all are suspected in the end.
    studio.publish_all(&events).await;
    studio.kill(name);
    let ends = AtomicUsize::new(0);
    let hook = [("STUDIO_TEST_ABORT_ON", poison.id.as_str())];
    studio.spawn(name, name, &hook);
    wait_for("the parked message", || async {
        if studio.has_ended(name) {
            ends.fetch_add(1, Ordering::Relaxed);
            studio.spawn(name, name, &hook);
        }
        studio.log(name).contains("a message was rejected").then_some(())
    })
    .await;
    let parked = wait_for("its place among the rejected", || async {
        Some(rejected(&studio)).filter(|parked| !parked.is_empty())
    })
    .await;
    let reasons: Vec<&Value> = parked.iter().map(|message| &message["reason"]).collect();
    assert_eq!(reasons, [&json!("ends_the_process")]);
    let ends = ends.into_inner();
    assert!((5..=12).contains(&ends), "parked after {ends} ends");
    wait_for("the others", || async {
        let arrived: HashSet<String> = endpoint.requests().iter().map(|r| r.event_id()).collect();
        events.iter().all(|e| e.id == poison.id || arrived.contains(&e.id)).then_some(())
    })
    .await;
    assert!(!studio.has_ended(name));
    // The cause found, it is requeued and goes its way.
    studio.kill(name);
    studio.spawn(name, name, &[]);
    studio.wait_ready(&studio.dispatcher).await;
    let before = endpoint.count();
    let output = studio.command(&["rejected", "requeue", "--all"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for("the requeued one", || async {
        endpoint.requests()[before..].iter().any(|r| r.event_id() == poison.id).then_some(())
    })
    .await;
    assert!(rejected(&studio).is_empty());
}

on_both!(a_message_that_ends_the_process_is_parked_and_the_others_are_delivered);
