//! Browsers: the specification's own JavaScript, run by Node.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};
use crate::support::{PATIENCE, on_both};

/// The specification's example, with an address to fill in and everything received printed.
const CLIENT: &str = r#"
const WebSocket = globalThis.WebSocket ?? require('ws');
const ws = new WebSocket(`${process.argv[2]}/v1/ws?token=${process.argv[3]}`);

ws.onopen = () => {
    // Subscribe to project events
    ws.send(JSON.stringify({
        type: 'subscribe',
        project_id: process.argv[4]
    }));
};

ws.onmessage = (event) => {
    console.log(event.data);
};
ws.onclose = (event) => { console.log(JSON.stringify({ closed: event.code })); process.exit(0); };
ws.onerror = () => {};
"#;

struct Browser {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    fn open(studio: &Studio, token: &str, project: &str) -> Self {
        let script = studio.folder.path().join("client.js");
        std::fs::write(&script, CLIENT).unwrap();
        let modules = bench::servers::target_folder().join("node/node_modules");
        let mut child = Command::new("node")
            .env("NODE_PATH", modules)
            .arg(script)
            .args([&studio.gateway.replace("http://", "ws://"), token, project])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    async fn next(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("another message in time").unwrap().expect("another message")
    }

    async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message: Value = serde_json::from_str(&self.next().await).unwrap();
            if message["type"] == kind {
                return message;
            }
        }
    }
}

async fn a_browser_receives_its_project_and_nothing_of_another_user(backend: Backend) {
    let studio = Studio::start(backend).await;
    let mut project = Browser::open(&studio, &studio.token("usr_1", "user"), "p1");
    let mut all = Browser::open(&studio, &studio.token("usr_1", "user"), "*");
    let mut other = Browser::open(&studio, &studio.token("usr_2", "user"), "p1");
    for browser in [&mut project, &mut all, &mut other] {
        assert_eq!(browser.next_of("connected").await["protocol"], 1);
        browser.next_of("subscribed").await;
    }
    let first = Published::in_project("usr_1", "p1");
    let second = Published::in_project("usr_1", "p2");
    let third = Published::in_project("usr_1", "p1");
    let foreign = Published::in_project("usr_2", "p1");
    for event in [&first, &second, &third, &foreign] {
        studio.publish(event).await;
    }
    assert_eq!(project.next().await, first.payload());
    assert_eq!(project.next().await, third.payload());
    for event in [&first, &second, &third] {
        assert_eq!(all.next().await, event.payload());
    }
    assert_eq!(other.next().await, foreign.payload());
}

async fn a_wrong_token_is_refused_before_the_upgrade(backend: Backend) {
    let studio = Studio::start(backend).await;
    let client = crate::support::client();
    let upgrade = client
        .get(format!("{}/v1/ws?token=wrong", studio.gateway))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = upgrade.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["error"]["code"], "UNAUTHORIZED");
    assert!(!text.contains("wrong"), "the token is not repeated");
}

async fn no_token_reaches_a_log_a_span_or_a_metric(backend: Backend) {
    let collector = Endpoint::answering([200]).await;
    let settings = [
        ("STUDIO__TELEMETRY__FILTER", "trace"),
        ("STUDIO__TELEMETRY__OTLP_ENDPOINT", &*collector.url()),
    ];
    let studio = Studio::with(backend, &settings).await;
    let (good, wrong) = (studio.token("usr_1", "user"), studio.token("usr_2", "service"));
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let client = crate::support::client();
    for token in [&good, &wrong] {
        for (query, header, value) in [
            (format!("?token={token}"), "x-nothing", String::new()),
            (String::new(), "authorization", format!("Bearer {token}")),
            (String::new(), "sec-websocket-protocol", format!("bearer, {token}")),
        ] {
            let upgrade = client
                .get(format!("{}/v1/ws{query}", studio.gateway))
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
                .header(header, value);
            let status = upgrade.send().await.unwrap().status().as_u16();
            assert_eq!(status, if *token == good { 101 } else { 403 });
        }
    }
    let metrics = studio.metrics(&studio.gateway).await;
    assert!(metrics.contains("gateway_connections"), "{metrics}");
    let name = if backend == Backend::Embedded { "all" } else { "gateway" };
    studio.terminate(name).await;
    let spans: String = collector
        .requests()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    let log = studio.log(name);
    // Whatever was to be logged was: libraries are not heard, but each connection is.
    assert_eq!(log.matches("DEBUG a connection ended").count(), 3, "{log}");
    for token in [&good, &wrong] {
        for (place, text) in [("log", &log), ("spans", &spans), ("metrics", &metrics)] {
            assert!(!text.contains(&signature(token)), "a token stands in the {place}");
        }
    }
}

on_both!(
    no_token_reaches_a_log_a_span_or_a_metric,
    a_browser_receives_its_project_and_nothing_of_another_user,
    a_wrong_token_is_refused_before_the_upgrade,
);
