//! The example page and its client, `docs/client/`, in a real headless Chromium.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::events::Published;
use crate::support::studio::{Backend, JWT_SECRET, Studio};

/// How long one step may take, the start of the browser included.
const STEP: Duration = Duration::from_secs(60);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A page in a browser.
struct Page {
    _child: Child,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Page {
    async fn open(url: &str) -> Self {
        let script = repository().join("crates/studio-webhooks/tests/system/browser.js");
        let mut child = Command::new("node")
            .arg(script)
            .env("NODE_PATH", bench::servers::target_folder().join("node/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut page = Self { input: child.stdin.take().unwrap(), _child: child, answers };
        page.run(json!({ "command": "open", "url": url })).await;
        page
    }

    async fn run(&mut self, command: Value) -> Value {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let line = tokio::time::timeout(STEP, self.answers.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{command} in time")).unwrap();
        let line = line.unwrap_or_else(|| panic!("{command}: the browser ended"));
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["failed"].is_null(), "{command}: {answer}");
        assert_eq!(answer["errors"], json!([]), "{command}");
        answer["value"].clone()
    }

    async fn until(&mut self, condition: &str) {
        self.run(json!({ "command": "until", "condition": condition })).await;
    }

    async fn evaluate(&mut self, expression: &str) -> Value {
        self.run(json!({ "command": "evaluate", "expression": expression })).await
    }

    async fn screenshot(&mut self, name: &str) {
        let folder = bench::servers::target_folder().join("browser");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name).display().to_string();
        self.run(json!({ "command": "screenshot", "path": path })).await;
    }
}

/// Serves `docs/client/`, and a fresh token of `usr_1` at `/token`.
async fn site(seconds: u64) -> (String, Arc<Mutex<usize>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tokens = Arc::new(Mutex::new(0));
    let given = tokens.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let given = given.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer(request.uri().path(), seconds, &given);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    (format!("http://{address}"), tokens)
}

fn answer(path: &str, seconds: u64, given: &Mutex<usize>) -> Response<Full<Bytes>> {
    let (kind, body) = match path {
        "/token" => {
            *given.lock().unwrap() += 1;
            ("text/plain", token(seconds).into_bytes())
        }
        "/empty" => ("text/html", b"<!doctype html><title>empty</title>".to_vec()),
        "/" => ("text/html", std::fs::read(repository().join("docs/client/index.html")).unwrap()),
        "/studio-events.js" => {
            let file = repository().join("docs/client/studio-events.js");
            ("text/javascript", std::fs::read(file).unwrap())
        }
        _ => ("text/plain", Vec::new()),
    };
    let status = if body.is_empty() { 404 } else { 200 };
    let builder = Response::builder().status(status).header("content-type", kind);
    builder.body(Full::from(body)).unwrap()
}

fn token(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let claims = json!({ "sub": "usr_1", "exp": now.as_secs() + seconds, "roles": ["user"] });
    bench::token::signed(JWT_SECRET, &claims)
}

fn websocket(studio: &Studio) -> String {
    studio.gateway.replace("http://", "ws://")
}

const ROWS: &str = "[...document.querySelectorAll('#rows tr')]";

#[tokio::test(flavor = "multi_thread")]
async fn the_example_page_shows_events_and_resumes_after_the_gateway_was_killed() {
    let studio = Studio::start(Backend::Embedded).await;
    let (site, _) = site(3_600).await;
    let mut page = Page::open(&site).await;
    for (field, value) in
        [("#gateway", &websocket(&studio)), ("#token", &token(3_600)), ("#projects", &"p1".into())]
    {
        page.run(json!({ "command": "fill", "field": field, "value": value })).await;
    }
    page.run(json!({ "command": "click", "what": "button" })).await;
    page.until("document.getElementById('state').dataset.state === 'live'").await;
    let data = r#"{"project_id":"p1","note":"<img src=x onerror=alert(1)>"}"#;
    studio.publish(&Published::new("usr_1", "scrape.completed", data)).await;
    studio.publish(&Published::in_project("usr_1", "p2")).await;
    page.until(&format!("{ROWS}.length === 1")).await;
    let text = page.evaluate(&format!("{ROWS}[0].textContent")).await;
    assert!(text.as_str().unwrap().contains("<img src=x"), "shown as text: {text}");

    studio.kill("all");
    page.until("document.getElementById('state').dataset.state === 'waiting'").await;
    page.screenshot("waiting.png").await;
    studio.spawn("all", "all", &[]);
    studio.wait_ready(&studio.gateway).await;
    for _ in 0..3 {
        studio.publish(&Published::in_project("usr_1", "p1")).await;
    }
    page.until("document.getElementById('state').dataset.state === 'live'").await;
    page.until(&format!("{ROWS}.length === 4")).await;
    assert_eq!(page.evaluate(&format!("{ROWS}.filter(row => row.className).length")).await, 0);
    page.screenshot("live.png").await;
    page.run(json!({ "command": "click", "what": "#close" })).await;
    page.until("document.getElementById('state').dataset.state === 'closed'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_renews_its_token_in_place_and_says_when_it_may_have_missed_something() {
    let settings = [("STUDIO__GATEWAY__RESUME_EVENTS", "2")];
    let studio = Studio::with(Backend::Embedded, &settings).await;
    let (site, tokens) = site(6).await;
    let mut page = Page::open(&format!("{site}/empty")).await;
    let start = format!(
        "import('/studio-events.js').then(({{ StudioEvents }}) => {{
            window.log = [];
            window.studio = new StudioEvents('{}', {{
                token: async () => (await fetch('/token')).text(),
            }});
            for (const type of ['event', 'gap', 'state', 'error'])
                studio.addEventListener(type, ({{ detail }}) => log.push({{ type, ...detail }}));
            studio.open();
        }})",
        websocket(&studio)
    );
    page.evaluate(&start).await;
    let live = "log.filter(entry => entry.state === 'live').length";
    page.until(&format!("{live} === 1")).await;
    // Two lives of a token later it is still the same connection.
    tokio::time::sleep(Duration::from_secs(13)).await;
    studio.publish(&Published::in_project("usr_1", "p1")).await;
    page.until("log.filter(entry => entry.type === 'event').length === 1").await;
    let states = "log.filter(entry => entry.type === 'state').map(entry => entry.state).join()";
    assert_eq!(page.evaluate(states).await, "connecting,live");
    assert!((3..12).contains(&*tokens.lock().unwrap()), "{tokens:?}");

    // More than the gateway keeps is published while the page is away.
    page.evaluate("studio.close()").await;
    for _ in 0..6 {
        studio.publish(&Published::in_project("usr_1", "p1")).await;
    }
    page.evaluate("studio.open()").await;
    page.until(&format!("{live} === 2")).await;
    assert_eq!(page.evaluate("log.filter(entry => entry.type === 'gap').length").await, 1);
    studio.publish(&Published::in_project("usr_1", "p1")).await;
    page.until("log.filter(entry => entry.type === 'event').length === 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_does_not_come_back_when_it_is_told_not_to() {
    let studio = Studio::start(Backend::Embedded).await;
    let (site, _) = site(3_600).await;
    let mut page = Page::open(&format!("{site}/empty")).await;
    let start = format!(
        "import('/studio-events.js').then(({{ StudioEvents }}) => {{
            window.states = [];
            const studio = new StudioEvents('{}', {{ token: () => '{}' }});
            studio.addEventListener('state', ({{ detail }}) => states.push(detail));
            studio.open();
        }})",
        websocket(&studio),
        token(3_600)
    );
    page.evaluate(&start).await;
    page.until("states.at(-1)?.state === 'live'").await;
    let admin = studio.token("usr_boss", "admin");
    let (status, _) = studio.call("POST", "/v1/users/usr_1/sign-out", &admin, None).await;
    assert_eq!(status, 202);
    page.until("states.at(-1).state === 'closed'").await;
    assert_eq!(page.evaluate("states.at(-1).code").await, 4_503);
}
