//! The audit trail, as operators read it: what users and commands did, on both backends.

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::studio::{Backend, Studio};
use crate::support::{on_both, wait_for};

fn trail(studio: &Studio, filters: &[&str]) -> Vec<Value> {
    let arguments = [&["audit", "--json"], filters].concat();
    studio.json_of(&arguments).as_array().unwrap().clone()
}

#[track_caller]
fn run(studio: &Studio, arguments: &[&str]) -> String {
    let output = studio.command(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    assert!(!said.contains("not noted"), "{arguments:?}: {said}");
    said
}

async fn what_users_and_operators_do_is_in_the_trail(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    // The token of the test is one more row.
    let made = trail(&studio, &["--user", "usr_1", "--action", "webhook.create"]);
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(
        (&made[0]["action"], &made[0]["actor"]),
        (&json!("webhook.create"), &json!("usr_1"))
    );
    assert_eq!(made[0]["object"]["id"], hook.id);
    // One line each in the log of the service that did it.
    let service = if backend == Backend::Embedded { "all" } else { "api" };
    let log = studio.log(service);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("webhook.create")).collect();
    assert!(lines.len() == 1 && lines[0].contains(&hook.id), "{lines:?}");

    let said = run(&studio, &["token", "--user", "usr_2", "--role", "admin"]);
    assert!(said.contains("token.issue"), "a line for the operator's log: {said}");
    run(&studio, &["secrets", "rekey"]);
    run(&studio, &["secrets", "list"]);
    run(&studio, &["rejected", "list"]);
    run(&studio, &["rejected", "requeue", "--all"]);
    run(&studio, &["rejected", "drop", "--all"]);
    run(&studio, &["erase", "--user", "usr_1", "--yes"]);
    // To read the trail is noted in it: the second time shows the first.
    drop(trail(&studio, &[]));
    let all = trail(&studio, &[]);
    for action in [
        "database.migrate",
        "token.issue",
        "secrets.rekey",
        "secrets.list",
        "rejected.list",
        "rejected.requeue",
        "rejected.drop",
        "user.erase",
        "audit.read",
    ] {
        let row = all.iter().find(|row| row["action"] == action);
        let row = row.unwrap_or_else(|| panic!("no {action} in {all:?}"));
        if action != "database.migrate" {
            assert_eq!(row["via"], "command", "{action}");
            assert!(row["actor"].as_str().unwrap().starts_with("operator:"), "{action}");
        }
    }
    let left = trail(&studio, &["--user", "usr_1", "--action", "webhook.create"]);
    assert!(left.is_empty(), "usr_1 was erased: {left:?}");
    let erased = trail(&studio, &["--user", "usr_1", "--action", "user.erase"]);
    assert_eq!(erased.len(), 1);
    let table = studio.command(&["audit", "--limit", "2"]).output().unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.starts_with("time ") && table.lines().count() == 3, "{table}");
}

async fn a_webhook_that_the_product_switches_off_has_its_row(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([410]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&crate::support::events::Published::in_project("usr_1", "p")).await;
    let found = wait_for("the row of the switch", || async {
        let rows = trail(&studio, &["--action", "webhook.switch_off"]);
        rows.first().cloned()
    })
    .await;
    assert_eq!((&found["via"], &found["object"]["id"]), (&json!("service"), &json!(hook.id)));
    assert_eq!(found["user_id"], "usr_1");
}

async fn what_is_older_than_the_trail_is_kept_disappears(backend: Backend) {
    let settings = [
        ("STUDIO__DATABASE__AUDIT_RETENTION", "2s"),
        ("STUDIO__DISPATCHER__RETENTION_EVERY", "300ms"),
    ];
    let studio = Studio::with(backend, &settings).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    wait_for("the row to disappear", || async {
        let rows = trail(&studio, &["--action", "webhook.create"]);
        rows.is_empty().then_some(())
    })
    .await;
}

on_both!(
    what_is_older_than_the_trail_is_kept_disappears,
    what_users_and_operators_do_is_in_the_trail,
    a_webhook_that_the_product_switches_off_has_its_row
);
