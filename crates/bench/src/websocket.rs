//! A WebSocket client as a browser would be one.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// Refused, broken or not understood; an HTTP answer stands inside.
    #[error(transparent)]
    Connection(#[from] tungstenite::Error),
    /// The server closed the connection, with its code.
    #[error("closed with {0:?}")]
    Closed(Option<u16>),
    /// Nothing came in time.
    #[error("nothing within {0:?}")]
    Timeout(Duration),
}

/// One connection to the gateway.
#[derive(Debug)]
pub struct WebSocketClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl WebSocketClient {
    /// Connects to a URL such as `ws://127.0.0.1:8081/v1/ws?token=…`.
    ///
    /// # Errors
    /// [`WebSocketError::Connection`], with the HTTP answer when the upgrade was refused.
    pub async fn connect(url: &str) -> Result<Self, WebSocketError> {
        let (socket, _) = connect_async(url).await?;
        Ok(Self { socket })
    }

    /// Asks for the events of a project, `*` for all of the user's.
    ///
    /// # Errors
    /// [`WebSocketError::Connection`].
    pub async fn subscribe(&mut self, project: &str) -> Result<(), WebSocketError> {
        self.send(&json!({"type": "subscribe", "project_id": project})).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`WebSocketError::Connection`].
    pub async fn send(&mut self, message: &Value) -> Result<(), WebSocketError> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    /// The text of the next message; pings are answered on the way.
    ///
    /// # Errors
    /// [`WebSocketError`]: closed, broken, or nothing within `wait`.
    pub async fn next_text(&mut self, wait: Duration) -> Result<String, WebSocketError> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                    Some(Ok(Message::Close(frame))) => {
                        return Err(WebSocketError::Closed(frame.map(|f| f.code.into())));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(WebSocketError::Closed(None)),
                }
            }
        };
        tokio::time::timeout(wait, next).await.map_err(|_| WebSocketError::Timeout(wait))?
    }

    /// The next message whose `key` is `value`; others are passed over.
    ///
    /// # Errors
    /// As [`WebSocketClient::next_text`]; `wait` bounds the whole search.
    pub async fn next_with(
        &mut self,
        key: &str,
        value: &str,
        wait: Duration,
    ) -> Result<Value, WebSocketError> {
        let search = async {
            loop {
                let text = self.next_text(wait).await?;
                let message: Value = serde_json::from_str(&text).unwrap_or_default();
                if message[key] == value {
                    return Ok(message);
                }
            }
        };
        tokio::time::timeout(wait, search).await.map_err(|_| WebSocketError::Timeout(wait))?
    }
}
