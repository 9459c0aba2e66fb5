//! What operators are served, on a listener and at a socket of their own, and what the public
//! port keeps from everybody.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::studio::{Backend, Studio};
use crate::support::{client, on_both, wait_for};

/// The status and the body of an answer.
async fn ask(method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut request = client().request(method, url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn get(url: &str) -> (u16, String) {
    ask(Method::GET, url, &[], "").await
}

async fn the_public_port_says_that_it_lives_and_is_ready_and_nothing_more(backend: Backend) {
    let studio = Studio::start(backend).await;
    for base in [&studio.api, &studio.gateway] {
        for path in ["/metrics", "/waiting", "/log-level", "/internal/operate", "/internal"] {
            let (status, text) = get(&format!("{base}{path}")).await;
            assert_eq!(status, 404, "{base}{path}: {text}");
        }
        let (status, _) = ask(Method::POST, &format!("{base}/internal/operate"), &[], "{}").await;
        assert_eq!(status, 404, "{base}");
        assert_eq!(get(&format!("{base}/readyz")).await, (200, r#"{"status":"ready"}"#.into()));
        assert_eq!(get(&format!("{base}/healthz")).await, (200, r#"{"status":"ok"}"#.into()));
    }
}

async fn operators_see_everything_on_their_own_port(backend: Backend) {
    let studio = Studio::start(backend).await;
    let (status, ready) = studio.readiness(&studio.api).await;
    assert_eq!(
        (status, &ready["store"], &ready["broker"]),
        (200, &json!("ready"), &json!("ready"))
    );
    let (status, ready) = studio.readiness(&studio.gateway).await;
    assert_eq!((status, &ready["history"]), (200, &json!("ready")));
    let metrics = studio.metrics(&studio.api).await;
    assert!(metrics.contains("http_connections{"), "{metrics}");
    let waiting = |base: String| async move {
        serde_json::from_str::<Value>(&get(&format!("{base}/waiting")).await.1).unwrap()
    };
    let api = waiting(studio.operators.clone()).await;
    assert!(api["api"]["requests"].is_u64() && api["connections"].is_object(), "{api}");
    let dispatcher = waiting(studio.dispatcher.clone()).await;
    assert_eq!(dispatcher["dispatcher"]["first_attempts"]["at_most"], 384, "{dispatcher}");
    assert_eq!(dispatcher["dispatcher"]["first_attempts"]["under_way"], 0, "{dispatcher}");
}

async fn pages_in_a_browser_on_the_operators_machine_learn_and_change_nothing(backend: Backend) {
    let studio = Studio::start(backend).await;
    for base in [&studio.operators, &studio.dispatcher] {
        let port = base.rsplit(':').next().unwrap();
        let rebound = format!("rebound.example:{port}");
        for headers in [
            [("host", rebound.as_str())],
            [("origin", "http://rebound.example")],
            [("sec-fetch-site", "cross-site")],
        ] {
            for path in ["/metrics", "/readyz", "/healthz", "/waiting", "/log-level", "/nothing"] {
                let (status, text) = ask(Method::GET, &format!("{base}{path}"), &headers, "").await;
                assert_eq!(status, 403, "{base}{path} {headers:?}: {text}");
            }
            let wish = r#"{"level":"trace"}"#;
            let (status, _) = ask(Method::PUT, &format!("{base}/log-level"), &headers, wish).await;
            assert_eq!(status, 403, "{headers:?}");
        }
        let localhost = format!("localhost:{port}");
        let (status, _) =
            ask(Method::GET, &format!("{base}/metrics"), &[("host", &localhost)], "").await;
        assert_eq!(status, 200);
        let (_, filter) = get(&format!("{base}/log-level")).await;
        assert_eq!(filter, r#"{"filter":"info"}"#);
    }
}

on_both!(
    the_public_port_says_that_it_lives_and_is_ready_and_nothing_more,
    operators_see_everything_on_their_own_port,
    pages_in_a_browser_on_the_operators_machine_learn_and_change_nothing,
);

#[tokio::test(flavor = "multi_thread")]
async fn names_that_operators_use_are_set() {
    let settings = [("STUDIO__OPERATE__HOSTS", "dispatcher, studio.internal")];
    let studio = Studio::with(Backend::Embedded, &settings).await;
    let url = format!("{}/metrics", studio.operators);
    let status = async |host| ask(Method::GET, &url, &[("host", host)], "").await.0;
    assert_eq!(status("dispatcher:9080").await, 200);
    assert_eq!(status("studio.internal").await, 200);
    assert_eq!(status("other.internal").await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_is_changed_while_it_runs() {
    let studio = Studio::start(Backend::Embedded).await;
    let url = format!("{}/log-level", studio.operators);
    let put = async |wish: &str| ask(Method::PUT, &url, &[], wish).await;
    let answered = || studio.log("all").matches("GET answered 401").count();
    let call = async || studio.call("GET", "/v1/webhooks", "no token", None).await;
    call().await;
    wait_for("a line of the request", || async { (answered() == 1).then_some(()) }).await;
    let (status, text) = put(r#"{"target":"api","level":"warn"}"#).await;
    assert_eq!((status, text.as_str()), (200, r#"{"filter":"info,api=warn"}"#));
    call().await;
    let (status, text) = put(r#"{"filter":"info"}"#).await;
    assert_eq!((status, text.as_str()), (200, r#"{"filter":"info"}"#));
    call().await;
    wait_for("the third request's line", || async { (answered() >= 2).then_some(()) }).await;
    assert_eq!(answered(), 2, "the second was not to be logged");
    for (wish, expected) in [
        ("{}", 400),
        ("level", 400),
        (r#"{"level":"loud"}"#, 422),
        (r#"{"filter":"api=["}"#, 422),
        (r#"{"filter":"info","level":"info"}"#, 400),
        (r#"{"target":"a,b=trace","level":"info"}"#, 422),
    ] {
        let (status, text) = put(wish).await;
        assert!(status == expected && text.contains("expected"), "{wish}: {status} {text}");
    }
    let long = format!(r#"{{"level":"{}"}}"#, "x".repeat(5_000));
    assert_eq!(put(&long).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_stops_the_start_only_where_it_was_asked_for() {
    let mut studio = Studio::prepare(Backend::Embedded, &[]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = studio.command(&["all"]).env("STUDIO__OPERATE__BIND", &address).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let last = error.lines().last().unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(last.contains("operate.bind (STUDIO__OPERATE__BIND)"), "{error}");
    // The usual port, which may well be somebody else's already.
    let usual = std::net::TcpListener::bind("127.0.0.1:9080");
    studio.forget_setting("STUDIO__OPERATE__BIND");
    let mut child =
        studio.command(&["all"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    studio.wait_ready(&studio.api).await;
    child.kill().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    child.wait().unwrap();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("127.0.0.1:9080")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("WARN"), "{log}");
    assert!(warnings[0].contains("STUDIO__OPERATE__BIND"), "{log}");
    drop(usual);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_the_process_by_a_socket_that_is_its_users_alone() {
    let studio = Studio::start(Backend::Embedded).await;
    let path = studio.folder.path().join("queues.db.sock");
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    // No token is made or asked for.
    let queues = |studio: &Studio| {
        let mut command = studio.command(&["queues", "--json", "--measure", "0"]);
        command.env("STUDIO__AUTH__JWT_SECRET", "");
        command.env("STUDIO__API__BIND", "127.0.0.1:1").output().unwrap()
    };
    let output = queues(&studio);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown[0]["consumers"], 1, "the running process answered: {shown}");
    // What a killed process leaves is replaced, and a stopped one leaves nothing.
    studio.kill("all");
    assert!(path.exists());
    assert!(queues(&studio).status.success(), "no process: the file is opened");
    studio.spawn("all", "all", &[]);
    studio.wait_ready(&studio.api).await;
    assert!(queues(&studio).status.success());
    assert_eq!(studio.terminate("all").await, 0);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_waits_for_nobody_and_reads_no_more_than_a_question() {
    let studio = Studio::start(Backend::Embedded).await;
    let path = studio.folder.path().join("queues.db.sock");
    let talk = move |question: Vec<u8>, ends: bool| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let taken = stream.write_all(&question).is_ok();
        if ends {
            stream.shutdown(std::net::Shutdown::Write).ok();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        (taken, answer)
    };
    let talking = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        // More than are answered at once: those behind get their turn.
        let silent: Vec<_> = (0..6)
            .map(|_| {
                let talk = talk.clone();
                std::thread::spawn(move || talk(b"{".to_vec(), false))
            })
            .collect();
        for one in silent {
            assert!(one.join().unwrap().1.contains("in time"));
        }
        assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
        let (_, answer) = talk(vec![b' '; 4 << 20], true);
        assert!(answer.is_empty() || answer.contains("more than"), "{answer}");
        assert!(talk(b"{\"ask\":\"everything\"}".to_vec(), true).1.contains("cannot be read"));
    });
    talking.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_too_long_for_a_socket_is_said_and_stops_nothing() {
    let mut studio = Studio::prepare(Backend::Embedded, &[]).await;
    let folder = studio.folder.path().join("x".repeat(60)).join("y".repeat(60));
    std::fs::create_dir_all(&folder).unwrap();
    studio.set("STUDIO__BROKER__URL", &format!("embedded://{}/queues.db", folder.display()));
    studio.run(Backend::Embedded).await;
    let log = studio.log("all");
    assert!(log.contains("give broker.url a shorter path"), "{log}");
    let output = studio.command(&["queues"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("give broker.url a shorter path"), "{error}");
}
