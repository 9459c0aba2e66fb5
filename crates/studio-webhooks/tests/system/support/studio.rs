//! Studio Webhooks as an operator runs it: processes of the built binary.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bench::servers::{Postgres, RabbitMq, free_ports};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::{PATIENCE, wait_for};

pub(crate) const JWT_SECRET: &str = "a secret for tests, of at least 32 bytes";
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_studio-webhooks");

/// On what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// One process, SQLite.
    Embedded,
    /// Three services, RabbitMQ, PostgreSQL.
    Servers,
}

impl Backend {
    /// The process in which deliveries are made.
    pub(crate) fn worker(self) -> &'static str {
        match self {
            Self::Embedded => "all",
            Self::Servers => "dispatcher",
        }
    }
}

/// A running installation, ended with the test.
pub(crate) struct Studio {
    pub(crate) folder: TempDir,
    pub(crate) amqp_url: Option<String>,
    environment: Vec<(String, String)>,
    processes: Mutex<Vec<Process>>,
    pub(crate) api: String,
    pub(crate) gateway: String,
    pub(crate) dispatcher: String,
    /// Where operators of `all`, or of `api`, are served.
    pub(crate) operators: String,
    /// Where those of `gateway` are.
    gateway_operators: String,
    client: reqwest::Client,
}

struct Process {
    name: String,
    child: Child,
}

/// A webhook that a test made.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) secret: String,
}

impl Studio {
    /// Starts everything, with retries after 1, 1, 1 and 1 s.
    pub(crate) async fn start(backend: Backend) -> Self {
        Self::with(backend, &[]).await
    }

    /// Starts everything with these settings beside the usual ones.
    pub(crate) async fn with(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let mut studio = Self::prepare(backend, settings).await;
        studio.run(backend).await;
        studio
    }

    /// Starts the processes of what was prepared.
    pub(crate) async fn run(&mut self, backend: Backend) {
        match backend {
            Backend::Embedded => {
                self.spawn("all", "all", &[]);
                self.gateway.clone_from(&self.api);
                self.dispatcher.clone_from(&self.operators);
            }
            Backend::Servers => {
                self.migrate();
                self.spawn("api", "api", &[]);
                self.spawn("dispatcher", "dispatcher", &[]);
                self.spawn("gateway", "gateway", &[]);
                self.wait_ready(&self.gateway).await;
                self.wait_ready(&self.dispatcher).await;
            }
        }
        self.wait_ready(&self.api).await;
    }

    /// Starts the services on a database and a broker of the test's own.
    pub(crate) async fn on(database: String, broker: String, settings: &[(&str, &str)]) -> Self {
        let amqp_url = Some(broker.clone());
        let folder = TempDir::new().unwrap();
        let mut studio = Self::installed(folder, database, broker, amqp_url, settings);
        studio.run(Backend::Servers).await;
        studio
    }

    /// Everything but the processes.
    pub(crate) async fn prepare(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let (database, broker, amqp_url) = match backend {
            Backend::Embedded => {
                let file = |name: &str| folder.path().join(name).display().to_string();
                (
                    format!("sqlite://{}", file("store.db")),
                    format!("embedded://{}", file("queues.db")),
                    None,
                )
            }
            Backend::Servers => tokio::task::spawn_blocking(|| {
                let vhost = format!("studio{}", rand::random::<u32>());
                let broker = RabbitMq::shared().vhost(&vhost).unwrap();
                (Postgres::shared().fresh_database().unwrap(), broker.clone(), Some(broker))
            })
            .await
            .unwrap(),
        };
        Self::installed(folder, database, broker, amqp_url, settings)
    }

    fn installed(
        folder: TempDir,
        database: String,
        broker: String,
        amqp_url: Option<String>,
        settings: &[(&str, &str)],
    ) -> Self {
        let [api, gateway, dispatcher, operators, gateway_operators] = free_ports().unwrap();
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut environment: Vec<(String, String)> = [
            ("STUDIO__DATABASE__URL", database.as_str()),
            ("STUDIO__BROKER__URL", &broker),
            ("STUDIO__AUTH__JWT_SECRET", JWT_SECRET),
            ("STUDIO__SECRETS__KEYS", "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            ("STUDIO__DELIVERY__ALLOW_NETWORKS", "127.0.0.0/8"),
            ("STUDIO__DELIVERY__RETRY_DELAYS", "1s,2s,3s,4s"),
            ("STUDIO__API__RATE_LIMIT", "0"),
            ("STUDIO__API__BIND", &address(api)),
            ("STUDIO__GATEWAY__BIND", &address(gateway)),
            ("STUDIO__DISPATCHER__BIND", &address(dispatcher)),
            ("STUDIO__OPERATE__BIND", "127.0.0.1:0"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec();
        environment.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Self {
            folder,
            amqp_url,
            environment,
            processes: Mutex::new(Vec::new()),
            api: format!("http://{}", address(api)),
            gateway: format!("http://{}", address(gateway)),
            dispatcher: format!("http://{}", address(dispatcher)),
            operators: format!("http://{}", address(operators)),
            gateway_operators: format!("http://{}", address(gateway_operators)),
            client: crate::support::client(),
        }
    }

    /// The broker's virtual host that is the test's own.
    pub(crate) fn vhost(&self) -> String {
        let url = self.amqp_url.as_deref().expect("an installation with RabbitMQ");
        url.rsplit('/').next().and_then(|tail| tail.split('?').next()).unwrap().to_owned()
    }

    /// The value of the setting `name`.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let found = self.environment.iter().rev().find(|(known, _)| known == name);
        &found.expect("a setting that tests set").1
    }

    /// Gives the setting `name` another value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.forget_setting(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Leaves `name` to its default.
    pub(crate) fn forget_setting(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// A command of the binary with the installation's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        self.installed_here(command)
    }

    /// `command` with the installation's settings.
    fn installed_here(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).env_clear();
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }

    /// What a command that succeeds prints, read as JSON.
    pub(crate) fn json_of(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn migrate(&self) {
        let output = self.command(&["migrate"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts `command` as the process `name`, with these settings instead of the usual ones.
    pub(crate) fn spawn(&self, name: &str, command: &str, settings: &[(&str, &str)]) {
        let mut command = self.command(&[command]);
        command.envs(settings.iter().copied());
        self.start_process(name, command);
    }

    /// Starts `command` as the process `name` after these words to the shell, such as `ulimit`.
    pub(crate) fn spawn_under(&self, name: &str, command: &str, words: &str) {
        let mut limited = Command::new("sh");
        let script = format!(r#"{words}; exec "$0" "$@""#);
        limited.args(["-c", &script, BINARY, command]);
        self.start_process(name, self.installed_here(limited));
    }

    /// Starts `command` as the process `name`, with these settings and no other.
    pub(crate) fn spawn_with_only(
        &self,
        name: &str,
        command: &str,
        settings: impl IntoIterator<Item = (String, String)>,
    ) {
        let mut only = Command::new(BINARY);
        only.arg(command).current_dir(self.folder.path()).env_clear().envs(settings);
        self.start_process(name, only);
    }

    /// Waits until the process `name` has ended by itself; its exit code.
    pub(crate) async fn wait_for_end(&self, name: &str) -> i32 {
        wait_for(&format!("the end of {name}"), || async {
            let mut processes = self.processes.lock().unwrap();
            let process = processes.iter_mut().find(|process| process.name == name).unwrap();
            process.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
        })
        .await
    }

    fn start_process(&self, name: &str, mut command: Command) {
        let operators = match name {
            "all" | "api" => Some(&self.operators),
            "gateway" => Some(&self.gateway_operators),
            _ => None,
        };
        if let Some((_, address)) = operators.and_then(|url| url.split_once("://")) {
            command.env("STUDIO__OPERATE__BIND", address);
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path(name))
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.lock().unwrap().push(Process { name: name.to_owned(), child });
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// What the process `name` has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }

    /// Kills the process `name` with SIGKILL.
    pub(crate) fn kill(&self, name: &str) {
        let mut processes = self.processes.lock().unwrap();
        let index = processes.iter().position(|process| process.name == name).unwrap();
        let mut process = processes.remove(index);
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// Whether the process `name` has ended by itself; it can be started anew then.
    pub(crate) fn has_ended(&self, name: &str) -> bool {
        let mut processes = self.processes.lock().unwrap();
        let process = processes.iter_mut().position(|process| process.name == name);
        let ended = process.filter(|index| processes[*index].child.try_wait().unwrap().is_some());
        ended.map(|index| processes.remove(index)).is_some()
    }

    /// The number of the process `name`.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        let processes = self.processes.lock().unwrap();
        processes.iter().find(|process| process.name == name).unwrap().child.id()
    }

    /// Sends the process `name` a signal.
    pub(crate) fn signal(&self, name: &str, signal: bench::servers::Signal) {
        bench::servers::send_signal(signal, &[self.pid(name)]).unwrap();
    }

    /// Where the operators of the service at `base` are served.
    fn operators_of<'a>(&'a self, base: &'a str) -> &'a str {
        match base {
            base if base == self.api => &self.operators,
            base if base == self.gateway => &self.gateway_operators,
            base => base,
        }
    }

    /// What `/readyz` of the service at `base` answers to operators, once it listens.
    pub(crate) async fn readiness(&self, base: &str) -> (u16, Value) {
        let url = format!("{}/readyz", self.operators_of(base));
        let ask = || async { self.client.get(&url).send().await.ok() };
        let answer = wait_for("an answer of /readyz", ask).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// What `/metrics` of the service at `base` answers to operators.
    pub(crate) async fn metrics(&self, base: &str) -> String {
        let url = format!("{}/metrics", self.operators_of(base));
        let answer = self.client.get(url).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// Asks the process `name` to stop, and gives back its exit code.
    pub(crate) async fn terminate(&self, name: &str) -> i32 {
        let mut process = {
            let mut processes = self.processes.lock().unwrap();
            let index = processes.iter().position(|process| process.name == name).unwrap();
            processes.remove(index)
        };
        bench::servers::send_signal(bench::servers::Signal::Term, &[process.child.id()]).unwrap();
        tokio::task::spawn_blocking(move || process.child.wait().unwrap().code().unwrap_or(-1))
            .await
            .unwrap()
    }

    /// Waits until the service at `base` says that it is ready.
    pub(crate) async fn wait_ready(&self, base: &str) {
        let is_ready = || async {
            let answer = self.client.get(format!("{base}/readyz")).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        let began = Instant::now();
        while !is_ready().await {
            assert!(began.elapsed() < PATIENCE, "{base} is not ready. {}", self.last_words());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last lines that each process has logged, for a test that fails.
    fn last_words(&self) -> String {
        let files = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        let logs = files.filter(|file| file.file_name().to_string_lossy().ends_with(".log"));
        let last = logs.map(|file| {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(30).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("\n{}:\n{}", file.file_name().display(), lines.join("\n"))
        });
        last.collect()
    }

    /// A token made by the product's own command.
    pub(crate) fn token(&self, user: &str, role: &str) -> String {
        let output = self.command(&["token", "--user", user, "--role", role]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Calls the API; the answer's status and body.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let method: reqwest::Method = method.parse().unwrap();
        let mut request =
            self.client.request(method, format!("{}{path}", self.api)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.timeout(Duration::from_secs(40)).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Makes a webhook of `user` with these fields beside a name and `*`.
    pub(crate) async fn webhook(&self, user: &str, url: &str, fields: Value) -> Webhook {
        let mut body = json!({ "name": "test", "url": url, "events": ["*"] });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let token = self.token(user, "user");
        let (status, answer) = self.call("POST", "/v1/webhooks", &token, Some(&body)).await;
        assert_eq!(status, 201, "{answer}");
        // A webhook counts from 100 ms after its answer.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Webhook {
            id: answer["data"]["id"].as_str().unwrap().to_owned(),
            user: user.to_owned(),
            secret: answer["data"]["secret"].as_str().unwrap().to_owned(),
        }
    }

    /// The first page of a webhook's log.
    pub(crate) async fn logs(&self, webhook: &Webhook) -> Vec<Value> {
        let token = self.token(&webhook.user, "user");
        let path = format!("/v1/webhooks/{}/logs?limit=100", webhook.id);
        let (status, answer) = self.call("GET", &path, &token, None).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"].as_array().unwrap().clone()
    }

    /// How many deliveries of the webhook the log calls a success, up to 10,000.
    pub(crate) async fn succeeded(&self, webhook: &Webhook) -> usize {
        self.logged(webhook, "success").await
    }

    /// How many deliveries of the webhook have this status in the log, up to 10,000.
    pub(crate) async fn logged(&self, webhook: &Webhook, status: &str) -> usize {
        let token = self.token(&webhook.user, "user");
        let path = format!("/v1/webhooks/{}/logs?status={status}&limit=1", webhook.id);
        let (_, answer) = self.call("GET", &path, &token, None).await;
        answer["meta"]["pagination"]["total"].as_u64().map_or(0, |total| total as usize)
    }

    /// A delivery that failed once and waits to be tried again, which will succeed.
    pub(crate) async fn waiting_retry(&self) -> (Endpoint, Webhook) {
        let endpoint = Endpoint::answering([500, 200]).await;
        let webhook = self.webhook("usr_1", &endpoint.url(), json!({})).await;
        self.publish(&Published::in_project("usr_1", "p")).await;
        self.wait_for_log(&webhook, "retrying").await;
        (endpoint, webhook)
    }

    /// Waits until the webhook's newest log has this status.
    pub(crate) async fn wait_for_log(&self, webhook: &Webhook, status: &str) -> Value {
        wait_for(&format!("a log that is {status}"), || async {
            let logs = self.logs(webhook).await;
            logs.first().filter(|log| log["status"] == status).cloned()
        })
        .await
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        for mut process in self.processes.lock().unwrap().drain(..) {
            process.child.kill().ok();
            process.child.wait().ok();
            if failed {
                let log = std::fs::read_to_string(
                    self.folder.path().join(format!("{}.log", process.name)),
                );
                let log = log.unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                for line in tail.iter().rev() {
                    eprintln!("[{}] {line}", process.name);
                }
            }
        }
    }
}
