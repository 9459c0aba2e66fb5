//! The power goes: what was written and not synced is gone with it, what was confirmed is not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};
use crate::support::{client, wait_for};

/// How often the power goes.
const ROUNDS: u64 = 6;

/// The library that undoes what was not synced.
fn disk_without_power(studio: &Studio) -> PathBuf {
    let library = studio.folder.path().join("unsynced.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/power/unsynced.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]);
    assert!(compiler.status().unwrap().success(), "{source} cannot be compiled");
    library
}

/// Publishes one event after the other until the process is gone; the ids of those confirmed.
async fn publish_until_gone(url: String, token: String) -> Vec<String> {
    let client = client();
    let mut confirmed = Vec::new();
    loop {
        let event = Published::in_project("usr_1", "p");
        let sent = client.post(&url).bearer_auth(&token);
        let sent = sent.header("content-type", "application/json").body(event.message());
        match sent.send().await {
            Ok(answer) if answer.status() == 202 => confirmed.push(event.id),
            Ok(answer) => assert!(answer.status().is_server_error(), "{answer:?}"),
            Err(_) => return confirmed,
        }
    }
}

/// The ids of the user's webhooks.
async fn webhooks(studio: &Studio) -> BTreeSet<String> {
    let token = studio.token("usr_1", "user");
    let (_, answer) = studio.call("GET", "/v1/webhooks?limit=100", &token, None).await;
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_confirmed_is_lost_when_the_power_goes() {
    let studio = Studio::start(Backend::Embedded).await;
    let endpoint = Endpoint::slow(Duration::from_millis(10)).await;
    let first = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    assert_eq!(studio.terminate("all").await, 0);
    let library = disk_without_power(&studio);
    let preloaded = [("LD_PRELOAD", library.to_str().unwrap())];
    let (mut confirmed, mut made) = (Vec::new(), BTreeSet::from([first.id.clone()]));
    for round in 0..ROUNDS {
        studio.spawn("all", "all", &preloaded);
        studio.wait_ready(&studio.api).await;
        let service = studio.token("svc", "service");
        let publishers: Vec<_> = (0..4)
            .map(|_| {
                let url = format!("{}/v1/events", studio.api);
                tokio::spawn(publish_until_gone(url, service.clone()))
            })
            .collect();
        let unheard = json!({ "events": ["project.deleted"] });
        made.insert(studio.webhook("usr_1", &endpoint.url(), unheard).await.id);
        // Some time into the work, each round another.
        tokio::time::sleep(Duration::from_millis(150 + 120 * round)).await;
        let pid = studio.pid("all").to_string();
        assert!(Command::new("kill").args(["-USR2", &pid]).status().unwrap().success());
        wait_for("the end of the process", || async { studio.has_ended("all").then_some(()) })
            .await;
        for publisher in publishers {
            confirmed.extend(publisher.await.unwrap());
        }
    }
    let lost = studio.log("all").matches("power lost").count() as u64;
    assert_eq!(lost, ROUNDS, "the process ended by something else");
    studio.spawn("all", "all", &[]);
    studio.wait_ready(&studio.api).await;
    assert!(webhooks(&studio).await.is_superset(&made), "a webhook is gone");
    wait_for("the arrival of every confirmed event", || async {
        let arrived: BTreeSet<String> = endpoint.requests().iter().map(|r| r.event_id()).collect();
        confirmed.iter().all(|id| arrived.contains(id)).then_some(())
    })
    .await;
    wait_for("the log of every confirmed event", || async {
        (studio.succeeded(&first).await >= confirmed.len()).then_some(())
    })
    .await;
    assert!(confirmed.len() > 50, "{} events are not much of a test", confirmed.len());
}
