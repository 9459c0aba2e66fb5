//! What the tests arrange: a gateway with its broker, clients, and events.

use domain::setting::SecretText;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{AuthConfig, Verifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use broker::{BrokerConfig, Outgoing, SharedBroker, Target};
use bytes::Bytes;
use domain::{Event, Origin, UserId};
use futures::{SinkExt, StreamExt};
use gateway::{Gateway, GatewayConfig};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway.
pub(crate) struct Studio {
    pub(crate) address: SocketAddr,
    pub(crate) broker: SharedBroker,
    stop: CancellationToken,
    /// Kept as long as anybody uses them.
    files: Arc<TempDir>,
}

pub(crate) fn secret() -> SecretText {
    "a secret of at least thirty-two bytes".into()
}

/// One that was not told yet who was signed out.
fn uninformed() -> Verifier {
    Verifier::new(&AuthConfig { jwt_secret: secret(), ..AuthConfig::default() }).unwrap()
}

fn verifier() -> Verifier {
    let verifier = uninformed();
    verifier.sign_outs().set_known();
    verifier
}

/// A token of `user` that ends in `seconds`; negative ones have ended.
pub(crate) fn token_for(user: &str, seconds: i64) -> String {
    let now = OffsetDateTime::now_utc();
    let issued = now - time::Duration::hours(1);
    let user: UserId = user.parse().unwrap();
    access::issue(&secret(), &user, &["user"], issued, now + time::Duration::seconds(seconds))
}

/// A token of `user` for an hour, issued `seconds` from now.
pub(crate) fn token_issued(user: &str, seconds: i64) -> String {
    let issued = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let user: UserId = user.parse().unwrap();
    access::issue(&secret(), &user, &["user"], issued, issued + time::Duration::HOUR)
}

/// A token of `user` with the claim `jti`, for an hour.
pub(crate) fn token_with_id(user: &str, id: &str) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({ "sub": user, "exp": now + 3_600, "iat": now - 60, "jti": id });
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", text(&json!({ "alg": "HS256" })), text(&claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret().expose().as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A token of `user` for an hour.
pub(crate) fn token(user: &str) -> String {
    token_for(user, 3_600)
}

impl Studio {
    pub(crate) async fn start() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    pub(crate) async fn with(config: GatewayConfig) -> Self {
        let files = tempfile::tempdir().unwrap();
        let url = format!("embedded://{}", files.path().join("queues.db").display());
        let broker = broker::open(&BrokerConfig { url: url.into(), ..BrokerConfig::default() })
            .await
            .unwrap();
        let (address, stop) = serve(&config, &broker).await;
        Self { address, broker, stop, files: Arc::new(files) }
    }

    /// One that lets an address send so many wrong tokens in a minute.
    pub(crate) async fn with_wrong_tokens(limit: u32, config: GatewayConfig) -> Self {
        let studio = Self::start().await;
        studio.stop();
        let auth =
            AuthConfig { jwt_secret: secret(), wrong_token_limit: limit, ..AuthConfig::default() };
        let verifier = Verifier::new(&auth).unwrap();
        verifier.sign_outs().set_known();
        let (address, stop) = serve_with(&config, &studio.broker, verifier);
        ready(address).await;
        Self { address, broker: studio.broker.clone(), stop, files: studio.files.clone() }
    }

    /// Another gateway of the same broker.
    pub(crate) async fn another_gateway(&self) -> Self {
        let (address, stop) = serve(&GatewayConfig::default(), &self.broker).await;
        Self { address, broker: self.broker.clone(), stop, files: self.files.clone() }
    }

    /// Another gateway of the same broker, which nobody has told who was signed out.
    pub(crate) fn uninformed_gateway(&self) -> Self {
        let (address, stop) = serve_with(&GatewayConfig::default(), &self.broker, uninformed());
        Self { address, broker: self.broker.clone(), stop, files: self.files.clone() }
    }

    /// Asks the gateway to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        Client::connect(self.address, &token(user)).await
    }

    /// A client that watches `project`.
    pub(crate) async fn watching(&self, user: &str, project: &str) -> Client {
        let mut client = self.client(user).await;
        client.subscribe(project).await;
        client
    }

    /// Publishes an event and returns the payload that everybody must be sent.
    pub(crate) async fn publish(&self, id: &str, user: &str, project: &str) -> Bytes {
        let event = event(id, user, project);
        self.send(&event).await;
        event.payload
    }

    pub(crate) async fn send(&self, event: &Event) {
        self.broker.publish(Target::Events(event.kind), Outgoing::event(event)).await.unwrap();
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(config: &GatewayConfig, broker: &SharedBroker) -> (SocketAddr, CancellationToken) {
    let (address, stop) = serve_with(config, broker, verifier());
    ready(address).await;
    (address, stop)
}

fn serve_with(
    config: &GatewayConfig,
    broker: &SharedBroker,
    verifier: Verifier,
) -> (SocketAddr, CancellationToken) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let gateway = Gateway::start(config, broker.clone(), verifier);
    tokio::spawn(gateway::serve(gateway, listener, stop.clone()));
    (address, stop)
}

pub(crate) async fn ready(address: SocketAddr) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asking = async {
        loop {
            if let Ok(mut socket) = TcpStream::connect(address).await {
                let request = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                socket.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                if socket.read_to_string(&mut answer).await.is_ok() && answer.contains(" 200 ") {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the gateway is ready in time");
}

/// An event of `user` in `project`, with data that must stay as it is.
pub(crate) fn event(id: &str, user: &str, project: &str) -> Event {
    sized_event(id, user, project, 0)
}

/// The same with `size` bytes more.
pub(crate) fn sized_event(id: &str, user: &str, project: &str, size: usize) -> Event {
    let more = "x".repeat(size);
    let text = format!(
        r#"{{"id":"{id}","event":"scrape.completed","timestamp":"2026-02-02T12:00:00Z","user_id":"{user}","data":{{"project_id":"{project}", "change": -0.20, "big":123456789012345678901234567890,"name":"\u00e9 é","more":"{more}"}}}}"#
    );
    Event::from_json(text.as_bytes(), &Origin::default()).unwrap()
}

/// A WebSocket client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a client is sent next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Text(String),
    Ping,
    /// The code; `None` without one.
    Close(Option<u16>),
    /// The connection ended without a close.
    Gone,
}

pub(crate) fn request(address: SocketAddr, query: &str) -> Request {
    format!("ws://{address}/v1/ws{query}").into_client_request().unwrap()
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Self {
        let (mut client, _) =
            Self::open(request(address, &format!("?token={token}"))).await.unwrap();
        let connected = client.json().await;
        assert_eq!(connected["type"], "connected", "{connected}");
        client
    }

    pub(crate) async fn open(request: Request) -> Result<(Self, Response), tungstenite::Error> {
        let opening = tokio_tungstenite::connect_async(request);
        let (socket, response) = tokio::time::timeout(PATIENCE, opening).await.unwrap()?;
        Ok((Self { socket }, response))
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        self.json().await
    }

    pub(crate) async fn subscribe(&mut self, project: &str) {
        let answer = self.ask(&json!({ "type": "subscribe", "project_id": project })).await;
        assert_eq!(
            (&answer["type"], &answer["project_id"]),
            (&json!("subscribed"), &json!(project))
        );
    }

    pub(crate) async fn next(&mut self) -> Next {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        match next.expect("something comes in time") {
            Some(Ok(Message::Text(text))) => Next::Text(text.to_string()),
            Some(Ok(Message::Ping(_))) => Next::Ping,
            Some(Ok(Message::Close(frame))) => Next::Close(frame.map(|f| f.code.into())),
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(_)) | None => Next::Gone,
        }
    }

    /// The next text; pings are passed over.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                Next::Text(text) => return text,
                Next::Ping => {}
                other => panic!("expected a text, found {other:?}"),
            }
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// The id of the next message, an event.
    pub(crate) async fn event_id(&mut self) -> String {
        let event = self.json().await;
        event["id"].as_str().unwrap_or_else(|| panic!("no event: {event}")).to_owned()
    }

    /// The code that it is closed with; whatever comes before is passed over.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Next::Close(code) => return code,
                Next::Gone => panic!("it was cut off without a close"),
                Next::Text(_) | Next::Ping => {}
            }
        }
    }

    /// Sees that nothing was sent: what comes next is the answer to a question asked now.
    pub(crate) async fn has_nothing(&mut self) {
        assert_eq!(self.ask(&json!({ "type": "ping" })).await, json!({ "type": "pong" }));
    }
}
