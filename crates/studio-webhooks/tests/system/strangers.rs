//! Publishers and receivers that know nothing of this code: Python's pika, Node's amqplib, and
//! the specification's own functions, run by the real interpreters.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::endpoint::{Endpoint, Received};
use crate::support::events::{Published, TIMESTAMP};
use crate::support::studio::{Backend, Studio, Webhook};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").canonicalize().unwrap()
}

fn python() -> PathBuf {
    bench::servers::target_folder().join("python/bin/python3")
}

/// The three sample payloads of the specification, one of each of the twelve types, and data
/// whose every byte must survive.
fn samples() -> Vec<Published> {
    let specification = [
        (
            "scrape.completed",
            r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"job_def456","status":"completed","targets_scraped":5,"results_count":150,"new_results":25,"duration_seconds":45,"errors":[]}"#,
        ),
        (
            "analysis.completed",
            r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","job_id":"analysis_ghi789","results_analyzed":150,"summary":{"avg_sentiment":0.72,"positive_count":105,"neutral_count":30,"negative_count":15}}"#,
        ),
        (
            "alert.sentiment_drop",
            r#"{"project_id":"proj_abc123","project_name":"Amazon Tracker","target_id":"tgt_xyz789","target_label":"Product A","previous_sentiment":0.75,"current_sentiment":0.55,"change":-0.20,"period":"24h"}"#,
        ),
    ];
    let types = [
        "scrape.started",
        "scrape.progress",
        "scrape.completed",
        "scrape.failed",
        "analysis.started",
        "analysis.completed",
        "analysis.failed",
        "project.created",
        "project.updated",
        "project.deleted",
        "alert.sentiment_drop",
        "alert.negative_spike",
    ];
    let exact = r#"{ "z" : -0.20,  "a":123456789012345678901234567890, "project_id":"p", "u":"\u00e9\ud83d\ude00\/", "e":1E+5, "n":null }"#;
    let of_types = types.map(|kind| (kind, r#"{"project_id":"proj_abc123"}"#));
    specification
        .into_iter()
        .chain(of_types)
        .chain([("scrape.completed", exact)])
        .map(|(kind, data)| Published::new("usr_1", kind, data))
        .collect()
}

fn run(mut command: Command, input: &[u8]) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; `make test-tools` installs it"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn publish_with(mut command: Command, url: &str, events: &[Published], folder: &Path) {
    let file = folder.join("events.jsonl");
    let lines: Vec<String> = events.iter().map(Published::message).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    command.arg(url).arg(&file);
    let (success, said) = run(command, b"");
    assert!(success, "{said}");
}

/// The first block of code in `language` of the specification that has `function` in it.
fn specified(language: &str, function: &str) -> String {
    let page = std::fs::read_to_string(examples().join("../specification.md")).unwrap();
    let mut blocks = page.split("```").filter_map(|block| block.strip_prefix(language));
    blocks.find(|block| block.contains(function)).unwrap().to_owned()
}

/// The specification's own functions as programs: SECRET SIGNATURE < body.
fn specified_programs(folder: &Path) -> [Command; 2] {
    let python_end = "\nimport sys\nsys.exit(0 if verify_webhook(sys.stdin.buffer.read(), sys.argv[2], sys.argv[1]) else 1)\n";
    let node_end = "\nprocess.exit(verifyWebhook(require('fs').readFileSync(0), process.argv[3], process.argv[2]) ? 0 : 1);\n";
    let (by_python, by_node) = (folder.join("specified.py"), folder.join("specified.js"));
    std::fs::write(&by_python, specified("python", "verify_webhook") + python_end).unwrap();
    std::fs::write(&by_node, specified("javascript", "verifyWebhook") + node_end).unwrap();
    program(by_python, by_node)
}

fn program(by_python: PathBuf, by_node: PathBuf) -> [Command; 2] {
    let (mut python, mut node) = (Command::new(python()), Command::new("node"));
    python.arg(by_python);
    node.arg(by_node);
    [python, node]
}

/// The delivery verifies with the specification's own functions and with those of the guide, in
/// both languages.
fn assert_verifies(request: &Received, webhook: &Webhook, folder: &Path) {
    let signature = request.header("x-sentimatrix-signature");
    let guide = program(examples().join("verify.py"), examples().join("verify.js"));
    for mut command in specified_programs(folder).into_iter().chain(guide) {
        command.args([&webhook.secret, signature]);
        let (genuine, said) = run(command, &request.body);
        assert!(genuine, "{signature} {said}");
    }
}

fn assert_headers(request: &Received, event: &Published) {
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("x-sentimatrix-event"), event.kind);
    assert_eq!(request.header("x-sentimatrix-timestamp"), TIMESTAMP);
    assert!(request.header("x-sentimatrix-delivery").starts_with("log_"));
    assert_eq!(request.header("webhook-id"), event.id);
    assert!(request.header("webhook-signature").starts_with("v1,"));
    assert!(request.header("webhook-timestamp").parse::<u64>().is_ok());
    assert_eq!(request.header("x-own"), "value");
    assert_eq!(request.path, "/hook");
}

async fn check(command: Command) {
    let studio = Studio::start(Backend::Servers).await;
    let endpoint = Endpoint::answering([200]).await;
    let own = json!({ "headers": { "X-Own": "value" } });
    let webhook = studio.webhook("usr_1", &endpoint.url(), own).await;
    let events = samples();
    let url = studio.amqp_url.clone().unwrap();
    publish_with(command, &url, &events, studio.folder.path());
    let requests = endpoint.wait_for(events.len()).await;
    assert_eq!(requests.len(), events.len());
    for event in &events {
        let request = requests.iter().find(|request| request.event_id() == event.id).unwrap();
        assert_eq!(request.text(), event.payload());
        assert_headers(request, event);
        assert_verifies(request, &webhook, studio.folder.path());
    }
    let mut tampered = requests[0].clone();
    tampered.body = [b" ", tampered.body.as_ref()].concat().into();
    let signature = tampered.header("x-sentimatrix-signature").to_owned();
    let mut verify = Command::new("node");
    verify.arg(examples().join("verify.js")).args([&webhook.secret, &signature]);
    assert!(!run(verify, &tampered.body).0, "a changed body must not verify");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pika_publishes_arrives_signed_and_unchanged() {
    let mut command = Command::new(python());
    command.arg(examples().join("publish.py"));
    check(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_amqplib_publishes_arrives_signed_and_unchanged() {
    let mut command = Command::new("node");
    let modules = bench::servers::target_folder().join("node/node_modules");
    command.env("NODE_PATH", modules).arg(examples().join("publish.js"));
    check(command).await;
}
