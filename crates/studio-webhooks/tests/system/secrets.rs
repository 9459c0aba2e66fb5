//! What is secret stands where it belongs, and nowhere else.

use bench::servers::{Postgres, RabbitMq};
use serde_json::{Value, json};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::marks::{Marks, assert_none, hex};
use crate::support::studio::{Backend, JWT_SECRET, Studio};
use crate::support::{on_both, wait_for};

const OWN_SECRET: &str = "mark-own-secret-5bd1e9";
const HEADER: &str = "mark-authorization-77aa01";
const COOKIE: &str = "mark-cookie-0c3fd2";
const URL_PATH: &str = "mark-url-path-19f2ab";
const URL_QUERY: &str = "mark-url-query-ee8c40";
const DATA: &str = "mark-event-data-4d20c7";
const PASSWORD: &str = "mark-password-a81b55";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Gives the database and the broker passwords, where there are any.
async fn set_passwords(studio: &mut Studio, backend: Backend) {
    if backend == Backend::Embedded {
        return;
    }
    let with_password = |url: &str, user: &str| {
        let (scheme, rest) = url.split_once("://").unwrap();
        format!("{scheme}://{user}:{PASSWORD}@{}", rest.split_once('@').unwrap().1)
    };
    let database = with_password(studio.setting("STUDIO__DATABASE__URL"), "postgres");
    let vhost = studio.vhost();
    let broker = with_password(studio.setting("STUDIO__BROKER__URL"), &vhost);
    tokio::task::spawn_blocking(move || {
        let server = RabbitMq::shared();
        server.ctl(&["add_user", &vhost, PASSWORD]).unwrap();
        server.ctl(&["set_permissions", "-p", &vhost, &vhost, ".*", ".*", ".*"]).unwrap();
    })
    .await
    .unwrap();
    studio.set("STUDIO__DATABASE__URL", &database);
    studio.set("STUDIO__BROKER__URL", &broker);
}

/// Everything that is stored but the URLs of webhooks, what is binary in hexadecimal.
async fn stored(studio: &Studio, backend: Backend) -> String {
    if backend == Backend::Servers {
        let url = studio.setting("STUDIO__DATABASE__URL").to_owned();
        let name = url.rsplit('/').next().unwrap().to_owned();
        return tokio::task::spawn_blocking(move || {
            let server = Postgres::shared();
            let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
            let tables = server.sql(&name, tables).unwrap();
            let rows = |table: &str| {
                let sql = format!("SELECT (to_jsonb(t) - 'url')::text FROM {table} t");
                format!("{table}\n{}", server.sql(&name, &sql).unwrap())
            };
            tables.lines().map(rows).collect::<Vec<_>>().join("\n")
        })
        .await
        .unwrap();
    }
    const DUMP: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for (table,) in db.execute(\"SELECT name FROM sqlite_schema WHERE type = 'table'\").fetchall():
    rows = db.execute(f'SELECT * FROM {table}')
    names = [column[0] for column in rows.description]
    print(table)
    for row in rows:
        print([v.hex() if isinstance(v, bytes) else v for n, v in zip(names, row) if n != 'url'])
";
    let mut python =
        std::process::Command::new(bench::servers::target_folder().join("python/bin/python3"));
    let file = studio.folder.path().join("store.db");
    let output = python.args(["-c", DUMP]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything that comes of one webhook: tests of it, an event for it, its logs, its rotation.
async fn use_it(studio: &Studio, token: &str, id: &str, marks: &mut Marks) {
    let path = format!("/v1/webhooks/{id}");
    for _ in 0..3 {
        let (status, answer) =
            studio.call("POST", &format!("{path}/test"), token, Some(&json!({}))).await;
        assert_eq!(status, 200, "{answer}");
        assert_none(marks, "the answer to a test", &answer.to_string());
    }
    let rotate = format!("{path}/rotate-secret");
    let (_, answer) = studio.call("POST", &rotate, token, None).await;
    let secret = answer["data"]["secret"].as_str().unwrap().to_owned();
    marks.push(("the secret after rotation", secret));
}

/// What users are shown that is no secret's first answer: `url` left out, which is theirs.
async fn shown(studio: &Studio, token: &str, path: &str) -> Value {
    fn without_urls(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("url");
                map.values_mut().for_each(without_urls);
            }
            Value::Array(list) => list.iter_mut().for_each(without_urls),
            _ => {}
        }
    }
    let (status, mut answer) = studio.call("GET", path, token, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    without_urls(&mut answer);
    answer
}

async fn a_secret_is_found_nowhere(backend: Backend) {
    let keys = format!("k1:{KEY}");
    let collector = Endpoint::answering([200]).await;
    let at = collector.url().trim_end_matches("/hook").replace("http://", "");
    let otlp = format!("http://otlp:{PASSWORD}@{at}/v1/traces?key={URL_QUERY}");
    let format = if backend == Backend::Embedded { "text" } else { "json" };
    let settings = [
        ("STUDIO__TELEMETRY__FILTER", "trace"),
        ("STUDIO__TELEMETRY__FORMAT", format),
        ("STUDIO__TELEMETRY__OTLP_ENDPOINT", &otlp),
        ("STUDIO__SECRETS__KEYS", &keys),
    ];
    let mut studio = Studio::prepare(backend, &settings).await;
    set_passwords(&mut studio, backend).await;
    studio.run(backend).await;
    let (token, service) = (studio.token("usr_1", "user"), studio.token("svc", "service"));
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let mut marks: Marks = vec![
        ("the webhook's own secret", OWN_SECRET.into()),
        ("the header Authorization", HEADER.into()),
        ("a cookie", COOKIE.into()),
        ("a password", PASSWORD.into()),
        ("the JWT secret", JWT_SECRET.into()),
        ("the key of secrets", KEY.into()),
        ("an access token", signature(&token)),
        ("the access token of a service", signature(&service)),
    ];
    let of_urls: Marks =
        vec![("the path of a URL", URL_PATH.into()), ("the query of a URL", URL_QUERY.into())];
    let of_events: Marks = vec![("the data of an event", DATA.into())];

    // Endpoints that answer 200, 404 and 500, one that refuses, one whose name is unknown, and
    // one that speaks no TLS.
    let endpoint = Endpoint::answering([200, 404, 500]).await;
    let at = endpoint.url().trim_end_matches("/hook").to_owned();
    let [closed, ..] = bench::servers::free_ports::<1>().unwrap();
    let mut ids = Vec::new();
    for base in [
        at.clone(),
        format!("http://127.0.0.1:{closed}"),
        "http://nowhere.invalid".to_owned(),
        at.replace("http:", "https:"),
    ] {
        let url = format!("{base}/services/{URL_PATH}?token={URL_QUERY}");
        let fields = json!({
            "secret": OWN_SECRET,
            "headers": { "Authorization": format!("Bearer {HEADER}"), "Cookie": COOKIE },
        });
        let made = studio.webhook("usr_1", &url, fields).await;
        use_it(&studio, &token, &made.id, &mut marks).await;
        ids.push(made);
    }
    let generated = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    marks.push(("a generated secret", generated.secret.clone()));
    let data = format!(r#"{{"project_id":"p","text":"{DATA}"}}"#);
    studio.publish(&Published::new("usr_1", "scrape.completed", &data)).await;
    for webhook in &ids {
        wait_for("the event's last attempt", || async {
            let logs = studio.logs(webhook).await;
            logs.into_iter().find(|log| log["cause"] == "event" && log["status"] == "failed")
        })
        .await;
    }

    // What is refused, with secrets in it.
    let everything: Marks = marks.iter().chain(&of_urls).cloned().collect();
    let long = OWN_SECRET.repeat(20);
    let answers = [
        studio
            .call("POST", "/v1/webhooks", &token, Some(&json!({ "secret": long, "name": 7 })))
            .await,
        studio
            .call(
                "POST",
                "/v1/webhooks",
                &token,
                Some(&json!({
                    "name": "n", "events": ["*"],
                    "url": format!("http://user:{PASSWORD}@example.com/{URL_PATH}?{URL_QUERY}"),
                    "headers": { "Authorization": format!("Bearer {HEADER}\n"), "Host": COOKIE },
                })),
            )
            .await,
        studio.call("POST", "/v1/webhooks", &token, Some(&json!([OWN_SECRET]))).await,
        studio.call("GET", "/v1/webhooks", &format!("{token}x"), None).await,
        studio.call("GET", &format!("/v1/webhooks?access_token={token}"), &token, None).await,
        studio.call("GET", &format!("/v1/ws?token={token}"), "none", None).await,
    ];
    for (status, answer) in answers {
        assert!(status >= 400, "{status} {answer}");
        assert_none(&everything, "an error answer", &answer.to_string());
    }
    let socket = format!("{}/v1/ws?token={token}", studio.gateway.replace("http:", "ws:"));
    drop(tokio_tungstenite::connect_async(socket).await.unwrap());
    let stream = format!("{}/v1/events/stream?token={token}", studio.gateway);
    let stream = crate::support::client().get(stream).bearer_auth(&token).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    drop(stream);

    // What is shown.
    let first = &ids[0].id;
    let logs = shown(&studio, &token, &format!("/v1/webhooks/{first}/logs")).await;
    let log = logs["data"][0]["id"].as_str().unwrap();
    let again = format!("/v1/webhooks/{first}/logs/{log}/redeliver");
    let (status, answer) = studio.call("POST", &again, &token, None).await;
    assert_eq!(status, 202, "{answer}");
    assert_none(&everything, "the answer to a redelivery", &answer.to_string());
    for path in [
        "/v1/webhooks".to_owned(),
        format!("/v1/webhooks/{first}"),
        format!("/v1/webhooks/{first}/logs"),
        format!("/v1/webhooks/{first}/logs/{log}"),
    ] {
        let answer = shown(&studio, &token, &path).await.to_string();
        assert_none(&everything, &path, &answer);
    }
    let dispatcher = format!("http://{}", studio.setting("STUDIO__DISPATCHER__BIND"));
    let served = match backend {
        Backend::Embedded => vec![studio.api.clone()],
        Backend::Servers => vec![studio.api.clone(), studio.gateway.clone(), dispatcher],
    };
    let nowhere: Marks = everything.iter().chain(&of_events).cloned().collect();
    for base in served {
        assert_none(&nowhere, "metrics", &studio.metrics(&base).await);
    }

    // What everybody on the machine reads.
    let processes: &[&str] = match backend {
        Backend::Embedded => &["all"],
        Backend::Servers => &["api", "dispatcher", "gateway"],
    };
    for name in processes {
        let line = std::fs::read(format!("/proc/{}/cmdline", studio.pid(name))).unwrap();
        assert_none(&nowhere, "a command line", &String::from_utf8_lossy(&line));
    }

    // What is written down.
    let dump = stored(&studio, backend).await;
    assert!(dump.contains("webhooks") && dump.contains(&hex(DATA)), "the dump has everything");
    assert_none(&everything, "the database", &dump);
    for name in processes {
        studio.terminate(name).await;
    }
    let spans: String = collector
        .requests()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert!(spans.contains("request.id"), "spans are exported");
    assert_none(&nowhere, "what the collector got", &spans);
    let mut detailed = false;
    for file in std::fs::read_dir(studio.folder.path()).unwrap() {
        let file = file.unwrap().path();
        if !file.is_file() {
            // The socket for operators' commands: nothing is kept in it.
            continue;
        }
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        if name.ends_with(".log") {
            detailed |= text.contains("DEBUG");
            assert_none(&nowhere, &name, &text);
        } else if name.starts_with("store.db") {
            assert_none(&marks, &name, &text);
        } else {
            assert_none(&everything, &name, &text);
        }
    }
    // Libraries have no lines at this level, whatever the filter says.
    assert!(detailed, "everything of ours is logged");
}

on_both!(a_secret_is_found_nowhere);

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_wrong_is_named_and_not_repeated() {
    let studio = Studio::prepare(Backend::Embedded, &[]).await;
    for (name, value) in [
        ("STUDIO__AUTH__JWT_SECRET", "too-short-7d1".to_owned()),
        ("STUDIO__SECRETS__KEYS", format!("k1:{PASSWORD}")),
        ("STUDIO__SECRETS__KEYS", PASSWORD.to_owned()),
        ("STUDIO__DATABASE__URL", format!("postgres://u:{PASSWORD}@127.0.0.1:port/db")),
        ("STUDIO__DATABASE__URL", format!("mysql://u:{PASSWORD}@127.0.0.1/db")),
        ("STUDIO__BROKER__URL", format!("amqp://u:{PASSWORD}@127.0.0.1:port/x")),
        ("STUDIO__BROKER__URL", format!("kafka://u:{PASSWORD}@127.0.0.1/x")),
    ] {
        let mut command = studio.command(&["all"]);
        command.env(name, &value);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output();
        let output = tokio::time::timeout(crate::support::PATIENCE, output).await;
        let output = output.unwrap_or_else(|_| panic!("{name}={value}: it runs")).unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "{name}={value}: {said}");
        let key = name.trim_start_matches("STUDIO__").replace("__", ".").to_lowercase();
        assert!(said.contains(&key), "{name}={value}: {said}");
        assert!(!said.contains(&value) && !said.contains(PASSWORD), "{name}={value}: {said}");
    }
}
