//! The product as it is deployed: its processes, settings and tokens.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load::USER;
use crate::servers::{ServerError, Signal, free_ports, send_signal};
use crate::token::access_token;

/// What signs its tokens.
pub(crate) const JWT_SECRET: &str = "a secret for measurements, of at least 32 bytes";

/// An installation of the binary at `binary`.
pub struct Product {
    binary: PathBuf,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    /// The API's address.
    pub api: String,
    /// The dispatcher's, for its metrics.
    pub dispatcher: String,
    /// Calls the API.
    pub client: reqwest::Client,
}

/// A running process, killed when dropped.
pub struct Running(Child);

impl Running {
    /// This program again, with these arguments, as a process of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn of_this_program(arguments: &[&str]) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map(Self)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        send_signal(signal, &[self.pid()])
    }

    /// Asks it to stop; `false` when it still runs after `deadline` and is killed.
    ///
    /// # Errors
    /// When it cannot be asked or waited for.
    pub fn stop(mut self, deadline: Duration) -> anyhow::Result<bool> {
        self.signal(Signal::Term)?;
        let began = Instant::now();
        while began.elapsed() < deadline {
            if self.0.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Product {
    /// An installation on this database and broker, with logs and files in `folder`.
    ///
    /// # Errors
    /// When no port is free or the folder cannot be made.
    pub fn new(
        binary: PathBuf,
        folder: PathBuf,
        database: &str,
        broker: &str,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let [api, gateway, dispatcher] = free_ports()?;
        // Where it is, whom it trusts, and that it may call this machine: nothing that would make it
        // another product than the one that users have.
        let environment = [
            ("STUDIO__DATABASE__URL", database.to_owned()),
            ("STUDIO__BROKER__URL", broker.to_owned()),
            ("STUDIO__AUTH__JWT_SECRET", JWT_SECRET.to_owned()),
            ("STUDIO__SECRETS__KEYS", "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
            ("STUDIO__DELIVERY__ALLOW_NETWORKS", "127.0.0.0/8".to_owned()),
            ("STUDIO__API__RATE_LIMIT", "0".to_owned()),
            ("STUDIO__API__BIND", format!("127.0.0.1:{api}")),
            ("STUDIO__GATEWAY__BIND", format!("127.0.0.1:{gateway}")),
            ("STUDIO__DISPATCHER__BIND", format!("127.0.0.1:{dispatcher}")),
            ("STUDIO__OPERATE__BIND", "127.0.0.1:0".to_owned()),
        ];
        let environment = environment.map(|(k, v)| (k.to_owned(), v)).to_vec();
        let client = client()?;
        let dispatcher = format!("http://127.0.0.1:{dispatcher}");
        let api = format!("http://127.0.0.1:{api}");
        // Its processes work in a folder of their own.
        let binary = std::path::absolute(binary)?;
        Ok(Self { binary, folder, environment, api, dispatcher, client })
    }

    /// Adds settings, each `KEY=VALUE`.
    pub fn set(&mut self, settings: &[String]) {
        let pairs = settings.iter().filter_map(|setting| setting.split_once('='));
        self.environment.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    /// Runs `command` to its end.
    ///
    /// # Errors
    /// With what it said, when it fails.
    pub fn run(&self, command: &str) -> anyhow::Result<()> {
        let output = self.command(command).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{command}: {said}");
        Ok(())
    }

    /// Starts the service `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, command: &str) -> anyhow::Result<Running> {
        self.start_as(command, command, &[])
    }

    /// Starts the service `command` with settings of its own; its log is appended to `name.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_as(
        &self,
        name: &str,
        command: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Running> {
        let log = self.folder.join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut process = self.command(command);
        process.envs(settings.iter().copied());
        let child = process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Running(child))
    }

    fn command(&self, command: &str) -> Command {
        let mut process = Command::new(&self.binary);
        process.arg(command).current_dir(&self.folder).env_clear();
        process.envs(self.environment.iter().map(|(k, v)| (k, v)));
        process
    }

    /// Waits until the API is ready.
    ///
    /// # Errors
    /// When it is not within 30 s.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let url = format!("{}/readyz", self.api);
        while !self.client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
            anyhow::ensure!(began.elapsed() < Duration::from_secs(30), "the API is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Makes a webhook to `url` for everything.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn webhook(&self, url: &str) -> anyhow::Result<()> {
        self.webhook_at(url).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    }

    /// Makes a webhook to `url` that nothing is published for yet.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn webhook_at(&self, url: &str) -> anyhow::Result<()> {
        let body = json!({ "name": "bench", "url": url, "events": ["*"] });
        self.post(USER, "/v1/webhooks", &body).await?;
        Ok(())
    }

    /// Removes its folder, with the files and logs in it.
    pub fn remove_files(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} was not removed: {error}", self.folder.display());
        }
    }

    /// An access token of `user` with this role, for an hour.
    #[must_use]
    pub fn token(&self, user: &str, role: &str) -> String {
        access_token(JWT_SECRET, user, &[role])
    }

    /// `GET path` of the API as `user`.
    ///
    /// # Errors
    /// When it does not answer, or not with 2xx.
    pub async fn get(&self, user: &str, path: &str) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", self.api));
        self.answer(request.bearer_auth(self.token(user, "user")), path).await
    }

    /// `POST path` of the API as `user`.
    ///
    /// # Errors
    /// When it does not answer, or not with 2xx.
    pub async fn post(&self, user: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.api));
        let request = request.header("content-type", "application/json").body(body.to_string());
        self.answer(request.bearer_auth(self.token(user, "user")), path).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder, path: &str) -> anyhow::Result<Value> {
        let answer = request.timeout(Duration::from_secs(30)).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

/// An HTTP client without settings from the environment.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> anyhow::Result<reqwest::Client> {
    rustls::crypto::ring::default_provider().install_default().ok();
    #[expect(clippy::disallowed_methods, reason = "it looks at the product from outside")]
    let builder = reqwest::Client::builder();
    Ok(builder.no_proxy().tcp_nodelay(true).build()?)
}

/// An access token of the one who measures, with this role, for an hour.
#[must_use]
pub fn token(role: &str) -> String {
    access_token(JWT_SECRET, USER, &[role])
}
