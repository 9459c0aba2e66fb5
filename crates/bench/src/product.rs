//! The product as it is deployed: its processes, settings and tokens.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::load::USER;
use crate::servers::free_ports;

const JWT_SECRET: &str = "a secret for measurements, of at least 32 bytes";

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
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
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
            // One endpoint takes everything here: no one else is held up by it.
            ("STUDIO__DISPATCHER__PER_WEBHOOK", "512".to_owned()),
            ("STUDIO__DELIVERY__IDLE_PER_HOST", "512".to_owned()),
        ];
        let environment = environment.map(|(k, v)| (k.to_owned(), v)).to_vec();
        let client = client()?;
        let dispatcher = format!("http://127.0.0.1:{dispatcher}");
        let api = format!("http://127.0.0.1:{api}");
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
        let log = std::fs::File::create(self.folder.join(format!("{command}.log")))?;
        let child =
            self.command(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
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
        let body = json!({ "name": "bench", "url": url, "events": ["*"] });
        let request =
            self.client.post(format!("{}/v1/webhooks", self.api)).bearer_auth(token("user"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await?;
        let status = answer.status();
        anyhow::ensure!(status == 201, "POST /v1/webhooks: {status} {}", answer.text().await?);
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
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

/// An access token with this role, for an hour.
#[must_use]
pub fn token(role: &str) -> String {
    let now = crate::arrivals::unix_micros() / 1_000_000;
    let claims = json!({ "sub": USER, "type": "access", "roles": [role], "exp": now + 3_600 });
    let signed = format!(
        "{}.{}",
        base64url(br#"{"alg":"HS256","typ":"JWT"}"#),
        base64url(claims.to_string().as_bytes())
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(JWT_SECRET.as_bytes()).expect("any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", base64url(&mac.finalize().into_bytes()))
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
