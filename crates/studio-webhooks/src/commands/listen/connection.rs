//! One connection to a gateway, by the protocol of `docs/gateway-protocol.md`.

use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use domain::setting::SecretUrl;
use futures::{SinkExt, StreamExt};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(10);

/// Nothing at all for so long means that the connection is dead; pings come every 30 s.
const SILENCE: Duration = Duration::from_secs(75);

/// What a gateway said.
pub(super) enum Said {
    Event {
        id: String,
        payload: Bytes,
    },
    Subscribed {
        recovered: Option<bool>,
        last_event_id: Option<String>,
    },
    /// The token ends soon.
    Expiring,
    Nothing,
}

/// Why a connection ended, by what is to be done about it.
pub(super) enum Ended {
    /// Come back later.
    Lost(String),
    /// Come back after this time.
    Told(Duration),
    /// Come back with another token.
    Expired,
    /// Coming back would change nothing.
    ForGood(String),
}

/// An open connection.
pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    told: Option<Duration>,
}

#[derive(Deserialize)]
struct Text {
    /// Events have none.
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<Value>,
    recovered: Option<bool>,
    last_event_id: Option<String>,
    after_ms: Option<u64>,
    code: Option<String>,
    message: Option<String>,
}

/// The URL of the WebSocket of the gateway at `text`.
///
/// # Errors
/// When it is no such URL. The error does not repeat it: a token may stand in its query.
pub(super) fn url(text: &SecretUrl) -> anyhow::Result<SecretUrl> {
    let example = "expected a URL such as ws://127.0.0.1:8080";
    let mut url = Url::parse(text.expose()).with_context(|| format!("--gateway: {example}"))?;
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return Err(anyhow!("--gateway: {example}")),
    };
    if url.set_scheme(scheme).is_err() || url.host().is_none() {
        return Err(anyhow!("--gateway: {example}"));
    }
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1/ws");
    }
    Ok(String::from(url).into())
}

impl Connection {
    pub(super) async fn open(url: &SecretUrl, token: &str) -> Result<Self, Ended> {
        let shown = url.shown();
        let for_good = |reason: String| Ended::ForGood(format!("{shown}: {reason}"));
        // Neither error: they repeat the URL.
        let mut request = url
            .expose()
            .into_client_request()
            .map_err(|_| for_good("no WebSocket can be opened there".to_owned()))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Ended::ForGood("the access token cannot stand in a header".to_owned()))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        match tokio::time::timeout(CONNECT, connect_async(request)).await {
            Ok(Ok((socket, _))) => Ok(Self { socket, told: None }),
            Ok(Err(Error::Http(answer))) => {
                let status = answer.status();
                let body: Value =
                    serde_json::from_slice(answer.body().as_deref().unwrap_or_default())
                        .unwrap_or_default();
                let reason = body["error"]["message"].as_str().unwrap_or("no reason was given");
                let text = format!("the gateway answered {status}: {reason}");
                let passes = status.is_server_error() || status.as_u16() == 429;
                Err(if passes { Ended::Lost(text) } else { for_good(text) })
            }
            Ok(Err(Error::Io(error))) => {
                Err(Ended::Lost(format!("{shown} cannot be reached: {error}")))
            }
            Ok(Err(_)) => Err(Ended::Lost(format!("{shown} cannot be reached"))),
            Err(_) => Err(Ended::Lost(format!("{shown} does not answer"))),
        }
    }

    pub(super) async fn subscribe(
        &mut self,
        projects: &[String],
        events: &[String],
        since: Option<&str>,
    ) -> Result<(), Ended> {
        let mut message = json!({ "type": "subscribe" });
        if projects.is_empty() {
            message["project_id"] = json!("*");
        } else {
            message["project_ids"] = json!(projects);
        }
        if !events.is_empty() {
            message["events"] = json!(events);
        }
        if let Some(since) = since {
            message["since"] = json!(since);
        }
        self.say(&message).await
    }

    pub(super) async fn renew(&mut self, token: &str) -> Result<(), Ended> {
        self.say(&json!({ "type": "auth", "token": token })).await
    }

    async fn say(&mut self, message: &Value) -> Result<(), Ended> {
        let sent = self.socket.send(Message::text(message.to_string())).await;
        sent.map_err(|error| Ended::Lost(format!("the connection broke: {error}")))
    }

    /// The next thing that is said; pings are answered on the way.
    pub(super) async fn next(&mut self) -> Result<Said, Ended> {
        let lost = |reason: &str| Ended::Lost(format!("the connection broke: {reason}"));
        match tokio::time::timeout(SILENCE, self.socket.next()).await {
            Err(_) => Err(lost("nothing was heard for too long")),
            Ok(None) => Err(lost("the gateway is gone")),
            Ok(Some(Err(error))) => Err(lost(&error.to_string())),
            Ok(Some(Ok(Message::Text(text)))) => self.read(text),
            Ok(Some(Ok(Message::Close(frame)))) => Err(match (frame, self.told) {
                (_, Some(after)) => Ended::Told(after),
                (None, None) => lost("the gateway closed it"),
                (Some(frame), None) => match u16::from(frame.code) {
                    4_001 => Ended::Expired,
                    code @ 4_500..=4_999 => {
                        Ended::ForGood(format!("the gateway said {code}: {}", frame.reason))
                    }
                    code => lost(&format!("the gateway said {code}: {}", frame.reason)),
                },
            }),
            Ok(Some(Ok(_))) => Ok(Said::Nothing),
        }
    }

    fn read(&mut self, text: Utf8Bytes) -> Result<Said, Ended> {
        let Ok(said) = serde_json::from_str::<Text>(text.as_str()) else {
            return Ok(Said::Nothing);
        };
        match said.kind.as_deref() {
            None => match said.id {
                Some(Value::String(id)) => Ok(Said::Event { id, payload: text.into() }),
                _ => Ok(Said::Nothing),
            },
            Some("subscribed") => {
                eprintln!("Listening.");
                let Text { recovered, last_event_id, .. } = said;
                Ok(Said::Subscribed { recovered, last_event_id })
            }
            Some("token_expiring") => Ok(Said::Expiring),
            Some("reconnect") => {
                self.told = said.after_ms.map(Duration::from_millis);
                Ok(Said::Nothing)
            }
            Some("error") if said.code.as_deref() == Some("RATE_LIMITED") => {
                Err(Ended::Lost("the gateway is resumed from too often".to_owned()))
            }
            Some("error") => Err(Ended::ForGood(format!(
                "the gateway refused the subscription: {} ({})",
                said.message.unwrap_or_default(),
                said.code.unwrap_or_default()
            ))),
            Some(_) => Ok(Said::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_may_be_named_in_four_ways() {
        for (text, expected) in [
            ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/ws"),
            ("http://localhost", "ws://localhost/v1/ws"),
            ("https://studio.example/", "wss://studio.example/v1/ws"),
            ("wss://studio.example/other/ws", "wss://studio.example/other/ws"),
        ] {
            assert_eq!(url(&text.into()).unwrap().expose(), expected);
        }
        for wrong in ["localhost:8080", "ftp://hunter2", "", "ws://", "ws://h:p/?token=hunter2"] {
            let error = format!("{:#}", url(&wrong.into()).unwrap_err());
            assert!(error.contains("--gateway") && !error.contains("hunter2"), "{error}");
        }
    }
}
