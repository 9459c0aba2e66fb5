//! `listen`: events from the gateway to a program on the developer's machine.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{BINARY, Backend, Studio};
use crate::support::{PATIENCE, on_both};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Listener {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Listener {
    fn start(studio: &Studio, token: &str, arguments: &[&str]) -> Self {
        let mut command = Command::from(studio.command(&["listen", "--gateway", &studio.gateway]));
        command.args(arguments).env("STUDIO_ACCESS_TOKEN", token).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, err }
    }

    /// Reads what it says of itself up to a line with `wanted`.
    async fn says(&mut self, wanted: &str) -> String {
        let reading = async {
            let mut before = String::new();
            while let Some(line) = self.err.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return line;
                }
                before.push_str(&line);
                before.push('\n');
            }
            panic!("it ended before it said {wanted:?}:\n{before}");
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{wanted:?}"))
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.out.next_line()).await;
        line.expect("another line in time").unwrap().expect("another line")
    }
}

async fn events_reach_a_local_program_signed_as_a_webhooks_are(backend: Backend) {
    let studio = Studio::start(backend).await;
    let endpoint = Endpoint::answering([200, 500]).await;
    let token = studio.token("usr_1", "user");
    let forward = ["--forward", &endpoint.url(), "--secret", SECRET, "--project", "p1"];
    let mut listener = Listener::start(&studio, &token, &forward);
    listener.says("Listening").await;
    let event = Published::in_project("usr_1", "p1");
    studio.publish(&Published::in_project("usr_1", "p2")).await;
    studio.publish(&event).await;
    let line = listener.line().await;
    assert!(line.contains(&event.id) && line.contains("scrape.completed"), "{line}");
    assert!(line.contains("200 OK") && line.ends_with(" ms"), "{line}");

    let [request] = &endpoint.requests()[..] else { panic!("one request") };
    assert_eq!(request.text(), event.payload());
    let webhook = endpoint_like(&studio, &endpoint, &event).await;
    let mut names: Vec<&String> = request.headers.keys().collect();
    let mut expected: Vec<&String> = webhook.headers.keys().collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected, "the headers are those of the dispatcher");
    let body = studio.folder.path().join("body.json");
    std::fs::write(&body, &request.body).unwrap();
    let signature = request.header("x-sentimatrix-signature").to_owned();
    let arguments = ["--signature", &signature, "--secret", SECRET, body.to_str().unwrap()];
    let verified = studio.command(&["verify"]).args(arguments).status().unwrap();
    assert!(verified.success(), "its signature is right");

    let second = Published::in_project("usr_1", "p1");
    studio.publish(&second).await;
    let line = listener.line().await;
    assert!(line.contains(&second.id) && line.contains("500 Internal Server Error"), "{line}");
}

/// The same event as a webhook's endpoint gets it.
async fn endpoint_like(
    studio: &Studio,
    beside: &Endpoint,
    event: &Published,
) -> crate::support::endpoint::Received {
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_2", &endpoint.url(), serde_json::json!({})).await;
    let event = Published { user: "usr_2".into(), id: format!("{}_2", event.id), ..event.clone() };
    studio.publish(&event).await;
    let requests = endpoint.wait_for(1).await;
    assert_eq!(beside.count(), 1);
    requests[0].clone()
}

async fn it_resumes_by_itself_after_the_gateway_was_killed(backend: Backend) {
    let studio = Studio::start(backend).await;
    let token = studio.token("usr_1", "user");
    let mut listener = Listener::start(&studio, &token, &[]);
    listener.says("Listening").await;
    let events: Vec<Published> = (0..6).map(|_| Published::in_project("usr_1", "p1")).collect();
    studio.publish(&events[0]).await;
    assert_eq!(listener.line().await, events[0].payload());
    let name = match backend {
        Backend::Embedded => "all",
        Backend::Servers => "gateway",
    };
    studio.kill(name);
    listener.says("trying again").await;
    if backend == Backend::Servers {
        for event in &events[1..4] {
            studio.publish(event).await;
        }
    }
    studio.spawn(name, name, &[]);
    studio.wait_ready(&studio.gateway).await;
    if backend == Backend::Embedded {
        for event in &events[1..4] {
            studio.publish(event).await;
        }
    }
    for event in &events[4..] {
        studio.publish(event).await;
    }
    for event in &events[1..] {
        assert_eq!(listener.line().await, event.payload());
    }
}

async fn it_says_what_is_wrong_and_ends(backend: Backend) {
    let studio = Studio::start(backend).await;
    let good = studio.token("usr_1", "user");
    let wrong = format!("{good}x");
    for (token, arguments, expected) in [
        (&*wrong, &[][..], "401"),
        ("no-token", &[], "no JSON Web Token"),
        (&good, &["--events", "scrape.exploded"], "BAD_EVENTS"),
        (&good, &["--project", "two words"], "BAD_PROJECT"),
        (&good, &["--forward", "localhost:3000"], "--forward"),
    ] {
        let mut listener = Listener::start(&studio, token, arguments);
        let said = listener.says("error:").await;
        assert!(said.contains(expected), "{said}");
        let ended = tokio::time::timeout(Duration::from_secs(10), listener.child.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(2));
    }
}

on_both!(
    events_reach_a_local_program_signed_as_a_webhooks_are,
    it_resumes_by_itself_after_the_gateway_was_killed,
);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_one_line() {
    it_says_what_is_wrong_and_ends(Backend::Embedded).await;
    let output = std::process::Command::new(BINARY).env_clear().arg("listen").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--token") && output.status.code() == Some(2), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_made_and_printed_and_a_token_made_in_development() {
    let studio = Studio::start(Backend::Embedded).await;
    let endpoint = Endpoint::answering([200]).await;
    let gateway = studio.gateway.replace("http://", "ws://");
    let mut command = Command::from(studio.command(&["listen", "--gateway", &gateway]));
    command.args(["--user", "usr_1", "--forward", &endpoint.url()]).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap()).lines();
    let err = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut listener = Listener { child, out, err };
    let said = listener.says("Signing with").await;
    let secret =
        said.split_whitespace().find(|word| word.starts_with("whsec_")).unwrap().to_owned();
    listener.says("Listening").await;
    let event = Published::in_project("usr_1", "p1");
    studio.publish(&event).await;
    listener.line().await;
    let [request] = &endpoint.requests()[..] else { panic!("one request") };
    let key = bench::signature::keyed(secret.as_bytes());
    let expected = bench::signature::specification(&key, &request.body);
    assert_eq!(request.header("x-sentimatrix-signature"), expected);
}
