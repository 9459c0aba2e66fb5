//! What operators ask, on both backends, while the services run.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::publishing::publish_raw;
use crate::support::studio::{Backend, Studio, Webhook};
use crate::support::{on_both, wait_for};

fn run(studio: &Studio, arguments: &[&str]) -> Output {
    studio.command(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn ids(studio: &Studio) -> Vec<String> {
    let list = studio.json_of(&["rejected", "list", "--json"]);
    let ids = list.as_array().unwrap().iter().map(|message| message["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

async fn the_queues_are_shown(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([500]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    studio.wait_for_log(&hook, "retrying").await;
    let waiting = wait_for("a delivery in a delay queue", || async {
        let queues = studio.json_of(&["queues", "--json", "--measure", "0"]);
        let queues = queues.as_array().unwrap().clone();
        let delayed = |queue: &&Value| queue["queue"].as_str().unwrap().contains(".retry.");
        queues.iter().filter(delayed).any(|queue| queue["messages"] == 1).then_some(queues)
    })
    .await;
    let names: Vec<&str> = waiting.iter().map(|queue| queue["queue"].as_str().unwrap()).collect();
    let retries = ["1s", "2s", "3s", "4s"].map(|delay| format!("studio.deliver.retry.{delay}"));
    let mut expected = vec!["studio.dispatch", "studio.deliver"];
    expected.extend(retries.iter().map(String::as_str));
    expected.extend(["studio.deliver.wait.5s", "studio.rejected"]);
    assert_eq!(names, expected);
    assert_eq!((&waiting[0]["consumers"], &waiting[2]["consumers"]), (&json!(1), &json!(0)));
    let table = run(&studio, &["queues", "--measure", "100ms"]);
    let table = said(&table);
    assert!(table.starts_with("queue ") && table.contains("studio.deliver.retry.4s"), "{table}");
}

/// Rejects one message for each reason: a type that is unknown, and what is no JSON.
async fn reject_two(studio: &Studio) {
    let unknown = Published::new("usr_1", "scrape.exploded", "{}").message();
    match &studio.amqp_url {
        Some(url) => {
            let first = ("scrape.exploded".to_owned(), unknown.into_bytes());
            publish_raw(url, &[first], "application/json").await;
            wait_for("the first", || async { (ids(studio).len() == 1).then_some(()) }).await;
            let second = ("scrape.completed".to_owned(), b"{".to_vec());
            publish_raw(url, &[second], "application/json").await;
        }
        // Nothing gets past the API there: the file is written to while the process is down.
        None => {
            studio.kill("all");
            let file = studio.folder.path().join("queues.db");
            let program = r#"import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
head = '[0,"m1",[["studio-reason","%s"]]]'
rows = [(1, head % "unknown_type", sys.argv[2].encode()), (2, head % "not_json", b"{")]
db.executemany("INSERT INTO messages VALUES (?, 2, 0, 0, ?, ?)", rows)
db.commit()"#;
            let mut python = std::process::Command::new("python3");
            let python = python.args(["-c", program]).arg(file).arg(unknown);
            assert!(python.status().unwrap().success());
            studio.spawn("all", "all", &[]);
            studio.wait_ready(&studio.api).await;
        }
    }
    wait_for("two rejected messages", || async { (ids(studio).len() == 2).then_some(()) }).await;
}

async fn rejected_messages_are_listed_shown_and_dropped(backend: Backend) {
    let studio = Studio::start(backend).await;
    reject_two(&studio).await;
    let order = ids(&studio);
    for _ in 0..3 {
        assert_eq!(ids(&studio), order, "looking changes neither what is there nor its order");
    }
    let shown = studio.json_of(&["rejected", "show", &order[0], "--json"]);
    assert_eq!(shown["reason"], "unknown_type");
    assert!(shown["body"].as_str().unwrap().contains("scrape.exploded"), "{shown}");
    assert!(said(&run(&studio, &["rejected", "list"])).contains("not_json"));
    // What still cannot be read stays.
    let requeued = run(&studio, &["rejected", "requeue", "--all"]);
    assert_eq!(requeued.status.code(), Some(1));
    assert!(said(&requeued).contains("Requeued 0 message(s)."), "{}", said(&requeued));
    assert_eq!(ids(&studio), order);
    let dropped = run(&studio, &["rejected", "drop", "--reason", "not_json"]);
    assert!(said(&dropped).contains("Dropped 1 message(s)."), "{}", said(&dropped));
    assert_eq!(ids(&studio), order[..1]);
    assert_eq!(run(&studio, &["rejected", "drop"]).status.code(), Some(2), "nothing was named");
    assert!(run(&studio, &["rejected", "drop", &order[0]]).status.success());
    assert!(ids(&studio).is_empty());
    assert_eq!(run(&studio, &["rejected", "show", &order[0]]).status.code(), Some(2));
}

async fn a_healthy_installation_passes_the_doctor(backend: Backend) {
    let studio = Studio::start(backend).await;
    let output = run(&studio, &["doctor"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for part in ["settings", "tokens", "database", "keys", "broker", "files"] {
        let line = text.lines().find(|line| line.contains(&format!("  {part}")));
        assert!(line.is_some_and(|line| !line.starts_with("fail")), "{part}: {text}");
    }
}

async fn nothing_of_an_erased_user_is_left(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let other = studio.webhook("usr_2", &endpoint.url(), json!({})).await;
    for user in ["usr_1", "usr_2"] {
        studio.publish(&Published::in_project(user, "p")).await;
    }
    studio.wait_for_log(&hook, "success").await;
    studio.wait_for_log(&other, "success").await;
    assert_eq!(run(&studio, &["erase", "--user", "usr_1"]).status.code(), Some(1));
    let output = run(&studio, &["erase", "--user", "usr_1", "--yes"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 webhook(s), 1 delivery log(s), 1 event(s)"), "{text}");
    assert!(text.contains("studio.history") && text.contains("10s at most"), "{text}");
    let shown = |hook: Webhook| {
        let studio = &studio;
        async move {
            let path = format!("/v1/webhooks/{}", hook.id);
            studio.call("GET", &path, &studio.token(&hook.user, "user"), None).await.0
        }
    };
    assert_eq!((shown(hook).await, shown(other.clone()).await), (404, 200));
    assert_eq!(studio.logs(&other).await.len(), 1);
}

async fn what_is_older_than_it_is_kept_disappears(backend: Backend) {
    let settings =
        [("STUDIO__DATABASE__RETENTION", "3s"), ("STUDIO__DISPATCHER__RETENTION_EVERY", "200ms")];
    let studio = Studio::with(backend, &settings).await;
    let endpoint = Endpoint::answering([200, 200, 500]).await;
    let hook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    for _ in 0..2 {
        studio.publish(&Published::in_project("usr_1", "p")).await;
    }
    wait_for("two logs", || async { (studio.logs(&hook).await.len() == 2).then_some(()) }).await;
    wait_for("no log", || async { studio.logs(&hook).await.is_empty().then_some(()) }).await;
    // One that is still tried is kept until it has ended, 10 s later.
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(2 + 4).await;
    wait_for("the fourth attempt in the log", || async {
        let log = studio.wait_for_log(&hook, "retrying").await;
        (log["retry_count"] == 3).then_some(())
    })
    .await;
    endpoint.wait_for(2 + 5).await;
    wait_for("no log", || async { studio.logs(&hook).await.is_empty().then_some(()) }).await;
}

on_both!(
    the_queues_are_shown,
    rejected_messages_are_listed_shown_and_dropped,
    a_healthy_installation_passes_the_doctor,
    nothing_of_an_erased_user_is_left,
    what_is_older_than_it_is_kept_disappears,
);

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_again_is_requeued_once() {
    let studio = Studio::start(Backend::Servers).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    // As if another version had not known its type.
    let event = Published::in_project("usr_1", "p");
    let url = studio.amqp_url.clone().unwrap();
    crate::support::publishing::publish_rejected(&url, &event.message(), "unknown_type").await;
    let output = run(&studio, &["rejected", "requeue", "--reason", "unknown_type"]);
    assert!(said(&output).contains("Requeued 1 message(s)."), "{}", said(&output));
    assert_eq!(endpoint.wait_for(1).await[0].text(), event.payload());
    assert!(ids(&studio).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let studio = Studio::start(Backend::Servers).await;
    studio.webhook("usr_1", "http://127.0.0.1:8099/", json!({})).await;
    let look = |key: &str, value: &str| {
        let output = studio.command(&["doctor"]).env(key, value).output().unwrap();
        (output.status.code(), said(&output))
    };
    let other_key = "k2:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for (key, value, expected) in [
        ("STUDIO__SECRETS__KEYS", other_key, "fail  keys"),
        ("STUDIO__DATABASE__URL", "postgres://postgres@127.0.0.1:9/x", "fail  database"),
        ("STUDIO__BROKER__URL", "amqp://guest:guest@127.0.0.1:9/x", "fail  broker"),
        ("STUDIO__AUTH__JWT_SECRET", "short", "fail  tokens"),
        ("STUDIO__API__RATE_LIMIT", "many", "fail  settings"),
    ] {
        let (code, text) = look(key, value);
        assert_eq!(code, Some(1), "{key}: {text}");
        assert!(text.lines().any(|line| line.starts_with(expected)), "{key}: {text}");
        assert!(!text.contains("guest:guest"), "{text}");
    }
    let (code, text) = look("STUDIO__DELIVERY__RETRY_DELAYS", "7s");
    assert_eq!(code, Some(0), "a queue that is not there yet is declared by a service: {text}");
    assert!(text.contains("warn  broker") && text.contains("studio.deliver.retry.7s"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_shows_what_allowed_and_denied_networks_come_to() {
    let networks = [
        ("STUDIO__DELIVERY__ALLOW_NETWORKS", "10.0.0.0/8,192.0.2.0/24,fd00::/8"),
        ("STUDIO__DELIVERY__DENY_NETWORKS", "10.1.0.0/16,192.0.2.0/24"),
    ];
    let studio = Studio::prepare(Backend::Embedded, &networks).await;
    let told = said(&run(&studio, &["doctor"]));
    let line = |network: &str| {
        let found = told.lines().find(|line| line.contains(&format!("{network} is")));
        found.unwrap_or_else(|| panic!("{network} is not told of: {told}")).to_owned()
    };
    let cut = line("10.0.0.0/8");
    assert!(
        cut.starts_with("warn") && cut.contains("10.1.0.0/16") && cut.contains("private"),
        "{cut}"
    );
    let gone = line("192.0.2.0/24");
    assert!(gone.starts_with("warn") && gone.contains("refused"), "{gone}");
    assert!(line("fd00::/8").contains("unique local"), "{told}");
}
