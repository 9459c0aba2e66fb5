//! One event's way: webhook, publish, delivery, signature, WebSocket, log; each step shown as
//! a stranger to this process would see it, through HTTP and WebSocket.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use domain::{EventId, EventType, Secret, UserId};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::commands::demo::receiver::{self, Received};
use crate::commands::publish::own_client;
use crate::commands::token;
use crate::config::Settings;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long the printed tokens are good for.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3_600);

/// The name of the demo's own webhook, by which it is found again.
const NAME: &str = "Demo receiver";

/// A tour through the running process.
pub(super) struct Tour {
    client: reqwest::Client,
    address: SocketAddr,
    /// Where metrics are served, if they are.
    operators: Option<SocketAddr>,
    user_token: String,
    service_token: String,
}

/// Says what is about to be shown.
pub(super) fn greet(folder: &Path, again: bool) {
    println!("Sentimatrix Studio Webhooks: everything in one process, embedded store and broker.");
    if again {
        println!("Found keys and data of an earlier run in {}.", folder.display());
    } else {
        println!("Made development keys of its own in {}.", folder.display());
    }
}

fn step(title: &str) {
    println!("\n== {title}");
}

impl Tour {
    pub(super) fn new(
        settings: &Settings,
        address: SocketAddr,
        operators: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let user: UserId = "usr_demo".parse().expect("a plain word is a user id");
        Ok(Self {
            client: own_client()?,
            address,
            operators,
            user_token: token::issue(settings, &user, &["user"], TOKEN_LIFE),
            service_token: token::issue(settings, &user, &["service"], TOKEN_LIFE),
        })
    }

    pub(super) async fn run(&self) -> anyhow::Result<()> {
        self.wait_until_ready().await?;
        let (receiver, mut received) = receiver::start()?;
        self.count_what_is_there().await?;
        let (webhook, secret) = self.create_webhook(receiver).await?;
        let mut socket = self.subscribe().await?;
        let event = self.publish().await?;
        let delivered = within("the delivery", received.recv()).await?;
        show_delivery(&delivered.context("the receiver ended")?, &secret)?;
        show_message(&mut socket, &event).await?;
        self.show_log(&webhook).await?;
        self.say_what_next(&webhook);
        Ok(())
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let ready = async {
            loop {
                if let Ok(answer) = self.client.get(self.url("/readyz")).send().await
                    && answer.status().is_success()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the services", ready).await
    }

    async fn count_what_is_there(&self) -> anyhow::Result<()> {
        let found = self.get("/v1/webhooks?limit=100").await?;
        let webhooks = found["data"].as_array().map_or(&[][..], Vec::as_slice);
        if !webhooks.is_empty() {
            println!("Webhooks from earlier runs: {}.", webhooks.len());
        }
        // Their receivers are gone with the process that had them.
        for old in webhooks.iter().filter(|webhook| webhook["name"] == NAME) {
            let path = format!("/v1/webhooks/{}", old["id"].as_str().unwrap_or_default());
            let change = json!({ "name": format!("{NAME} (earlier)"), "active": false });
            self.send(reqwest::Method::PUT, &path, &change, &self.user_token).await?;
        }
        Ok(())
    }

    async fn create_webhook(&self, receiver: SocketAddr) -> anyhow::Result<(String, Secret)> {
        step("1. A user creates a webhook: POST /v1/webhooks");
        let body = json!({
            "name": NAME,
            "url": format!("http://{receiver}/hook"),
            "events": ["scrape.completed", "analysis.completed"],
        });
        println!("{body}");
        let made =
            self.send(reqwest::Method::POST, "/v1/webhooks", &body, &self.user_token).await?;
        let text = |field: &str| made["data"][field].as_str().unwrap_or_default().to_owned();
        println!("-> 201, id {}, secret {} (shown once)", text("id"), text("secret"));
        Ok((text("id"), Secret::new(text("secret"))))
    }

    async fn subscribe(&self) -> anyhow::Result<Socket> {
        step("2. A browser subscribes: WebSocket /v1/ws");
        let url = format!("ws://{}/v1/ws?token={}", self.address, self.user_token);
        let connecting = tokio_tungstenite::connect_async(url);
        let (mut socket, _) = within("the WebSocket", connecting).await?.context("/v1/ws")?;
        let subscribe = json!({ "type": "subscribe", "project_id": "proj_abc123" }).to_string();
        println!("{subscribe}");
        socket.send(Message::text(subscribe)).await?;
        let answer = next_message(&mut socket, |m| m["type"] == "subscribed").await?;
        println!("-> {answer}");
        Ok(socket)
    }

    async fn publish(&self) -> anyhow::Result<String> {
        step("3. A Studio service publishes an event: POST /v1/events (or RabbitMQ)");
        let kind = EventType::ScrapeCompleted;
        let id = EventId::generate();
        // Composed as text, so that `data` is the specification's example to the byte.
        let body = format!(
            r#"{{"id":"{id}","event":"{kind}","user_id":"usr_demo","data":{}}}"#,
            kind.example_data()
        );
        println!("{body}");
        let request = self.client.post(self.url("/v1/events")).bearer_auth(&self.service_token);
        let request = request.header("content-type", "application/json").body(body);
        let answer = request.send().await?;
        println!("-> {} once it is safe on disk", answer.status());
        let status = answer.status();
        if !status.is_success() {
            return Err(anyhow!("POST /v1/events answered {status}: {}", answer.text().await?));
        }
        Ok(id.to_string())
    }

    async fn show_log(&self, webhook: &str) -> anyhow::Result<()> {
        let path = format!("/v1/webhooks/{webhook}/logs");
        step(&format!("6. The log: GET {path}"));
        let recorded = async {
            loop {
                let text = self.get_text(&path).await?;
                let log: LogList<'_> = serde_json::from_str(&text)?;
                if let Some(entry) = log.data.first().filter(|e| e.get().contains("\"success\"")) {
                    // As it came: field for field in the specification's order.
                    return Ok::<_, anyhow::Error>(entry.get().replace(",\"", ",\n \""));
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        };
        println!("{}", within("the log entry", recorded).await??);
        Ok(())
    }

    fn say_what_next(&self, webhook: &str) {
        let address = self.address;
        step("Serving until Ctrl-C");
        println!("API         http://{address}/v1/webhooks");
        println!("WebSocket   ws://{address}/v1/ws");
        println!("API docs    http://{address}/docs");
        if let Some(operators) = self.operators {
            println!("Metrics     http://{operators}/metrics");
        }
        println!("Token of usr_demo, good for 12 hours:\n{}", self.user_token);
        println!("\nTry next:");
        println!(
            "curl -s -X POST -H 'Authorization: Bearer {}' http://{address}/v1/webhooks/{webhook}/test",
            self.user_token
        );
        println!(
            "curl -s -H 'Authorization: Bearer {}' http://{address}/v1/events --json \\\n  \
             '{{\"id\":\"evt_'$RANDOM'\",\"event\":\"scrape.completed\",\
             \"timestamp\":\"'$(date -u +%FT%TZ)'\",\"user_id\":\"usr_demo\",\
             \"data\":{{\"project_id\":\"proj_abc123\"}}}}'",
            self.service_token
        );
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.get_text(path).await?)?)
    }

    async fn get_text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.client.get(self.url(path)).bearer_auth(&self.user_token).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
        token: &str,
    ) -> anyhow::Result<Value> {
        let request = self.client.request(method.clone(), self.url(path)).bearer_auth(token);
        let answer = request.json(body).send().await?;
        let (status, answer) = (answer.status(), answer.json::<Value>().await?);
        if !status.is_success() {
            return Err(anyhow!("{method} {path} answered {status}: {answer}"));
        }
        Ok(answer)
    }
}

/// A list of the API, its rows as they came.
#[derive(serde::Deserialize)]
struct LogList<'a> {
    #[serde(borrow)]
    data: Vec<&'a serde_json::value::RawValue>,
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

fn show_delivery(received: &Received, secret: &Secret) -> anyhow::Result<()> {
    step("4. The endpoint receives it: POST /hook");
    for (name, value) in &received.headers {
        println!("{name}: {value}");
    }
    println!("\n{}", String::from_utf8_lossy(&received.body));
    let signature = received.header("X-Sentimatrix-Signature");
    if !domain::verify(secret, &received.body, signature) {
        return Err(anyhow!("the signature {signature} is wrong"));
    }
    println!("-> signature verified: HMAC-SHA256 of the body with the webhook's secret");
    Ok(())
}

async fn show_message(socket: &mut Socket, event: &str) -> anyhow::Result<()> {
    step("5. The browser receives it");
    println!("{}", next_message(socket, |message| message["id"] == event).await?);
    Ok(())
}

/// The next message that `wanted` takes, as its text.
async fn next_message(
    socket: &mut Socket,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<String> {
    let reading = async {
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message? else { continue };
            if serde_json::from_str(&text).is_ok_and(|value| wanted(&value)) {
                return Ok(text.to_string());
            }
        }
        Err(anyhow!("the WebSocket ended"))
    };
    within("the WebSocket message", reading).await?
}

/// What comes of `future`, if it comes in time.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| anyhow!("{what} did not come within {} s", PATIENCE.as_secs()))
}
