//! Every command, with secrets that are marked, in settings that are right and in ones that are
//! broken in every way that comes to mind: no mark stands in anything that is said.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::endpoint::Endpoint;
use crate::support::marks::{Marks, assert_none, found};
use crate::support::studio::{BINARY, Backend, Studio};
use crate::support::wait_for;

const JWT: &str = "mark-jwt-secret-0e11-of-at-least-32-bytes";
const KEY: &str = "bWFya2VkLWtleS1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg=";
const OTHER_KEY: &str = "bWFya2VkLWtleS1vZi0zMi1ieXRlcy1hYmNkZWZnaGk=";
const PASSWORD: &str = "mark-password-a81b55";
const QUERY: &str = "mark-query-7c20d4";
const SECRET: &str = "whsec_mark-webhook-secret-62fe";

/// Commands at once: most of them wait for something that is not there.
const AT_ONCE: usize = 6;

fn marks() -> Marks {
    vec![
        ("the JWT secret", JWT.into()),
        ("a key of secrets", KEY.into()),
        ("another key of secrets", OTHER_KEY.into()),
        ("a password", PASSWORD.into()),
        ("the query of a URL", QUERY.into()),
        ("a webhook's secret", SECRET.into()),
    ]
}

/// Every command that the binary names, with the words that lead to it.
fn commands() -> Vec<Vec<String>> {
    fn below(words: &[String], all: &mut Vec<Vec<String>>) {
        let help = Command::new(BINARY).args(words).arg("--help").env_clear().output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        // A command's line begins with its name; the lines that go on with its text do not.
        let lines = lines.take_while(|line| line.is_empty() || line.starts_with("  "));
        let named = |line: &str| line.starts_with("  ") && !line.starts_with("   ");
        let names: Vec<String> = lines
            .filter(|line| named(line))
            .map(|line| line.split_whitespace().next().unwrap().to_owned())
            .filter(|name| name != "help")
            .collect();
        if names.is_empty() {
            all.push(words.to_vec());
        }
        for name in names {
            below(&[words, &[name]].concat(), all);
        }
    }
    let mut all = Vec::new();
    below(&[], &mut all);
    assert!(all.len() >= 20, "{all:?}");
    all
}

/// What a command is given beside its name. One that needs nothing need not stand here; one that
/// does fails the test until it does.
fn arguments(command: &str) -> &'static [&'static str] {
    match command {
        "publish" => &["--event", "scrape.completed", "--user", "usr_1"],
        "listen" => &["--user", "usr_1", "--forward", "http://127.0.0.1:65000/services/x"],
        "token" => &["--user", "usr_1"],
        "verify" => &["--signature", "sha256=00", "/dev/null"],
        "erase" => &["--user", "usr_9", "--yes"],
        "queues" => &["--measure", "0"],
        "rejected show" => &["0123456789abcdef"],
        "rejected requeue" | "rejected drop" => &["--all"],
        _ => &[],
    }
}

/// Commands that go on until they are told to stop.
const SERVICES: [&str; 6] = ["api", "dispatcher", "gateway", "all", "demo", "listen"];

/// What a command said, and its exit code, if it ended by itself.
struct Said {
    text: String,
    code: Option<i32>,
}

/// Runs `command` for at most so long, then asks it to stop.
fn run(mut command: Command, longest: Duration) -> Said {
    let (out, err) =
        (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let mut child = command
        .env("STUDIO_WEBHOOK_SECRET", SECRET)
        .stdin(Stdio::null())
        .stdout(out.reopen().unwrap())
        .stderr(err.reopen().unwrap())
        .spawn()
        .unwrap();
    let mut wait = |longest: Duration| {
        let until = Instant::now() + longest;
        loop {
            match child.try_wait().unwrap() {
                Some(status) => return Some(status.code()),
                None if Instant::now() >= until => return None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    };
    let code = wait(longest).flatten();
    if code.is_none() {
        bench::servers::send_signal(bench::servers::Signal::Term, &[child.id()]).ok();
        let mut stopped = false;
        let until = Instant::now() + Duration::from_secs(5);
        while !stopped && Instant::now() < until {
            stopped = child.try_wait().unwrap().is_some();
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().ok();
        child.wait().unwrap();
    }
    let read = |file: &tempfile::NamedTempFile| {
        String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned()
    };
    Said { text: format!("{}{}", read(&out), read(&err)), code }
}

/// One way to break the settings.
struct Broken {
    setting: &'static str,
    value: OsString,
    /// A settings file instead of the value.
    file: Option<String>,
    /// Whether it is only seen once something does not answer.
    waits: bool,
}

fn value(setting: &'static str, value: impl Into<OsString>) -> Broken {
    Broken { setting, value: value.into(), file: None, waits: false }
}

fn away(setting: &'static str, url: String) -> Broken {
    Broken { waits: true, ..value(setting, url) }
}

/// A settings file that holds what `setting` would say.
fn file(setting: &'static str, text: String) -> Broken {
    Broken { file: Some(text), ..value(setting, "") }
}

fn broken(closed: u16) -> Vec<Broken> {
    const JWT_SECRET: &str = "STUDIO__AUTH__JWT_SECRET";
    const JWKS: &str = "STUDIO__AUTH__JWKS";
    const KEYS: &str = "STUDIO__SECRETS__KEYS";
    const DATABASE: &str = "STUDIO__DATABASE__URL";
    const BROKER: &str = "STUDIO__BROKER__URL";
    const OTLP: &str = "STUDIO__TELEMETRY__OTLP_ENDPOINT";
    let mut not_text = format!("{JWT}-").into_bytes();
    not_text.push(0xff);
    let p = PASSWORD;
    vec![
        // Cut, swapped, without its id, twice, two that are one.
        value(JWT_SECRET, &JWT[..20]),
        value(JWT_SECRET, OsString::from_vec(not_text)),
        value(KEYS, format!("{KEY}:k1")),
        value(KEYS, KEY),
        value(KEYS, format!("k1:{}", &KEY[..40])),
        value(KEYS, format!("k1:{KEY},k1:{KEY}")),
        value(KEYS, format!("{KEY}:{OTHER_KEY}")),
        value(KEYS, format!("k1:{KEY} {OTHER_KEY}")),
        value(KEYS, p),
        // Of one setting in another.
        value(JWKS, JWT),
        value(DATABASE, JWT),
        value(BROKER, JWT),
        value(OTLP, JWT),
        // URLs that are none, and of the wrong kind.
        value(DATABASE, format!("postgres://u:{p}@127.0.0.1:port/db?password={QUERY}")),
        value(DATABASE, format!("postgres://u:1/{p}@127.0.0.1:99999/db")),
        value(DATABASE, format!("mysql://u:{p}@127.0.0.1/db")),
        value(BROKER, format!("amqp://u:{p}@127.0.0.1:port/x?token={QUERY}")),
        value(BROKER, format!("amqp://u:1#{p}@127.0.0.1:99999/x")),
        value(BROKER, format!("kafka://u:{p}@127.0.0.1/x")),
        value(JWKS, format!("https://u:{p}@127.0.0.1:port/jwks?token={QUERY}")),
        value(JWKS, format!("ftp://u:{p}@127.0.0.1/jwks?token={QUERY}")),
        value(JWKS, format!("http://u:{p}@keys.example/jwks?token={QUERY}")),
        value(JWKS, format!("https:/u:{p}@127.0.0.1/jwks?token={QUERY}")),
        value(OTLP, format!("http://u:{p}@127.0.0.1:port/v1/traces?key={QUERY}")),
        value(OTLP, format!("http://u:{p}@a host/v1/traces?key={QUERY}")),
        value(OTLP, format!("u:{p}@127.0.0.1:4318")),
        // Nobody there.
        away(DATABASE, format!("postgres://u:{p}@127.0.0.1:{closed}/db?passwrod={QUERY}")),
        away(BROKER, format!("amqp://u:{p}@127.0.0.1:{closed}/x?token={QUERY}")),
        away(JWKS, format!("http://u:{p}@127.0.0.1:{closed}/jwks?token={QUERY}")),
        away(OTLP, format!("http://u:{p}@127.0.0.1:{closed}/v1/traces?key={QUERY}")),
        // A value where a section is, a section where a value is.
        value("STUDIO__SECRETS", format!("k1:{KEY}")),
        value("STUDIO__AUTH", JWT),
        value("STUDIO__DATABASE", format!("postgres://u:{p}@127.0.0.1/db")),
        value("STUDIO__BROKER", format!("amqp://u:{p}@127.0.0.1/x")),
        value("STUDIO__TELEMETRY", format!("http://u:{p}@127.0.0.1/v1/traces")),
        value("STUDIO__AUTH__JWT_SECRET__X", JWT),
        value("STUDIO__SECRETS__KEYS__K1", KEY),
        value("STUDIO__DATABASE__URL__X", format!("postgres://u:{p}@127.0.0.1/db")),
        value("STUDIO__AUTH__SECRET", JWT),
        value("STUDIO__SECRET__KEYS", KEY),
        // Files: not TOML, of the wrong type, names that are values.
        file(JWT_SECRET, format!("[auth]\njwt_secret = \"{JWT}\n")),
        file(JWT_SECRET, format!("[auth]\njwt_secret = {JWT}\n")),
        file(JWT_SECRET, format!("[auth]\njwt_secret = \"{JWT}\"\njwt_secret = \"{JWT}\"\n")),
        file(JWT_SECRET, format!("[auth]\njwt_secret = [\"{JWT}\"]\n")),
        file(JWT_SECRET, format!("[auth]\njwt_secret = {{ is = \"{JWT}\" }}\n")),
        file(JWT_SECRET, format!("auth = \"{JWT}\"\n")),
        file(JWT_SECRET, format!("[[auth]]\njwt_secret = \"{JWT}\"\n")),
        file(JWT_SECRET, format!("[auth]\njwt_sekret = \"{JWT}\"\n")),
        file(JWT_SECRET, format!("[auth]\n\"{JWT}\" = 1\n")),
        file(KEYS, format!("[secrets]\nkeys = \"{KEY}:k1\"\n")),
        file(KEYS, format!("[secrets]\nkeys = [[\"k1:{KEY}\"]]\n")),
        file(KEYS, format!("[secrets]\nkeys = {{ k1 = \"{KEY}\" }}\n")),
        file(KEYS, format!("[secrets]\n\"k1:{KEY}\" = true\n")),
        file(KEYS, format!("[\"{KEY}\"]\nkeys = 1\n")),
        file(DATABASE, format!("[database]\nurl = [\"postgres://u:{p}@127.0.0.1/db\"]\n")),
        file(DATABASE, format!("[database]\nurl = postgres://u:{p}@127.0.0.1/db\n")),
        file(BROKER, format!("[broker]\nurl = {{ amqp = \"amqp://u:{p}@127.0.0.1/x\" }}\n")),
        file(JWKS, format!("[auth]\njwks = [\"https://u:{p}@127.0.0.1/\"]\n")),
        file(OTLP, format!("[telemetry]\notlp_endpoint = [\"http://u:{p}@127.0.0.1/\"]\n")),
    ]
}

/// An installation of its own whose secrets are marked.
async fn marked(settings: &[(&str, &str)]) -> Studio {
    let keys = format!("k1:{KEY}");
    let usual = [
        ("STUDIO__AUTH__JWT_SECRET", JWT),
        // Required beside a key set.
        ("STUDIO__AUTH__AUDIENCE", "studio"),
        ("STUDIO__SECRETS__KEYS", keys.as_str()),
        ("STUDIO__TELEMETRY__FILTER", "trace"),
    ];
    Studio::prepare(Backend::Embedded, &[&usual, settings].concat()).await
}

/// Everything at once, a few at a time; what was wrong with each.
fn all_of<T: Send>(work: Vec<T>, each: impl Fn(T) -> Option<String> + Sync) -> Vec<String> {
    let (work, wrong) = (Mutex::new(work.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                loop {
                    let next = work.lock().unwrap().next();
                    let Some(next) = next else { return };
                    if let Some(text) = each(next) {
                        wrong.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_says_a_secret_whatever_is_wrong_with_the_settings() {
    let [closed] = bench::servers::free_ports::<1>().unwrap();
    let nowhere = [
        ("STUDIO__DATABASE__URL", "sqlite://store.db"),
        ("STUDIO__BROKER__URL", "embedded://queues.db"),
        ("STUDIO__API__BIND", "127.0.0.1:0"),
        ("STUDIO__GATEWAY__BIND", "127.0.0.1:0"),
        ("STUDIO__DISPATCHER__BIND", "127.0.0.1:0"),
    ];
    let (studio, marks) = (marked(&nowhere).await, marks());
    let (broken, commands) = (broken(closed), commands());
    let pairs: Vec<_> = (0..broken.len() * commands.len()).collect();
    let each = |number: usize| {
        let (broken, words) =
            (&broken[number / commands.len()], &commands[number % commands.len()]);
        let name = words.join(" ");
        let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
        all.extend(arguments(&name));
        if name == "listen" {
            all.extend(["--gateway", "ws://127.0.0.1:1"]);
        }
        let folder = tempfile::TempDir::new().unwrap();
        let mut command = studio.command(&all);
        command.current_dir(folder.path());
        command.env(
            "STUDIO__TELEMETRY__FORMAT",
            if number.is_multiple_of(2) { "text" } else { "json" },
        );
        match &broken.file {
            None => command.env(broken.setting, &broken.value),
            Some(text) => {
                std::fs::write(folder.path().join("studio-webhooks.toml"), text).unwrap();
                command.env_remove(broken.setting)
            }
        };
        // A service waits for ever, a tool says in the end what it waited for.
        let service = SERVICES.contains(&name.as_str());
        let longest = match (service, broken.waits) {
            (false, _) => Duration::from_secs(20),
            (true, true) => Duration::from_millis(1_500),
            (true, false) => Duration::from_secs(3),
        };
        let found = found(&marks, &run(command, longest).text)?;
        let how = broken.file.clone();
        let how = how.unwrap_or_else(|| broken.value.to_string_lossy().into_owned());
        Some(format!("`{name}` with {}={how}: {found}", broken.setting))
    };
    let wrong = tokio::task::block_in_place(|| all_of(pairs, each));
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), wrong.join("\n"));
}

async fn no_command_says_a_secret_when_all_is_well(format: &str) {
    let collector = Endpoint::answering([200]).await;
    let at = collector.url().trim_end_matches("/hook").replace("http://", "");
    let otlp = format!("http://otlp:{PASSWORD}@{at}/v1/traces?key={QUERY}");
    let [closed] = bench::servers::free_ports::<1>().unwrap();
    let jwks = format!("http://u:{PASSWORD}@127.0.0.1:{closed}/jwks?token={QUERY}");
    let mut studio = marked(&[
        ("STUDIO__TELEMETRY__FORMAT", format),
        ("STUDIO__TELEMETRY__OTLP_ENDPOINT", &otlp),
        ("STUDIO__AUTH__JWKS", &jwks),
    ])
    .await;
    studio.run(Backend::Embedded).await;
    let marks = marks();
    let own = json!({ "secret": SECRET });
    studio.webhook("usr_1", &format!("{}?token={QUERY}", collector.url()), own).await;
    let gateway = format!("{}?token={QUERY}", studio.gateway.replace("http:", "ws:"));
    for words in commands() {
        let name = words.join(" ");
        let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
        all.extend(arguments(&name));
        if name == "listen" {
            all.extend(["--gateway", &gateway]);
        }
        let mut command = studio.command(&all);
        let service = SERVICES.contains(&name.as_str());
        if service && name != "listen" {
            // Beside the one that runs: with files and addresses of its own.
            let folder = studio.folder.path().join(format!("{name}-{format}"));
            let file =
                |scheme: &str, file: &str| format!("{scheme}://{}", folder.join(file).display());
            command.env("STUDIO__DATABASE__URL", file("sqlite", "store.db"));
            command.env("STUDIO__BROKER__URL", file("embedded", "queues.db"));
            for bind in ["API", "GATEWAY", "DISPATCHER"] {
                command.env(format!("STUDIO__{bind}__BIND"), "127.0.0.1:0");
            }
        }
        let longest = Duration::from_secs(if service { 2 } else { 30 });
        let said = tokio::task::spawn_blocking(move || run(command, longest)).await.unwrap();
        assert_none(&marks, &format!("what `{name}` says"), &said.text);
        // Wrong is what `verify` finds, and a message that is not there.
        let expected: &[i32] = match name.as_str() {
            "verify" | "doctor" | "rejected requeue" | "rejected drop" => &[0, 1],
            "rejected show" => &[2],
            _ => &[0],
        };
        let ended = said.code.is_some_and(|code| expected.contains(&code));
        assert!(
            ended || (service && said.code.is_none()),
            "`{name}` ends with {:?}; does it need arguments that do not stand here? {}",
            said.code,
            said.text
        );
    }
    let arrived = wait_for("spans at the collector", || async {
        let traces: Vec<_> =
            collector.requests().into_iter().filter(|r| r.path == "/v1/traces").collect();
        (!traces.is_empty()).then_some(traces)
    })
    .await;
    assert!(arrived[0].header("authorization").starts_with("Basic "), "the credentials are sent");
    assert_eq!(studio.terminate("all").await, 0);
    let traces = collector.requests().into_iter().filter(|request| request.path == "/v1/traces");
    let spans: String =
        traces.map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    assert!(spans.contains("request.id"), "the API's spans are exported");
    assert_none(&marks, "what the collector got", &spans);
    let log = studio.log("all");
    assert!(log.contains("DEBUG"), "everything of ours is logged: {log}");
    assert_none(&marks, "the log", &log);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_says_a_secret_when_all_is_well_in_text() {
    no_command_says_a_secret_when_all_is_well("text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_says_a_secret_when_all_is_well_in_json() {
    no_command_says_a_secret_when_all_is_well("json").await;
}
