//! A server of public keys that counts who asks, and that can be away, slow, or wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::keys::SigningKey;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers 200 with this body.
    Body(String),
    /// Answers with this status line, such as `503 Service Unavailable`, and nothing.
    Status(&'static str),
    /// Closes the connection.
    Away,
    /// Takes the request and never answers.
    Silent,
    /// Begins a body that never ends.
    Endless,
}

impl Behaviour {
    /// Answers with the public parts of these keys.
    #[must_use]
    pub fn keys(keys: &[&SigningKey]) -> Self {
        Self::set(keys.iter().map(|key| key.jwk()).collect())
    }

    /// Answers with a set of these JSON Web Keys.
    #[must_use]
    pub fn set(keys: Vec<Value>) -> Self {
        Self::Body(json!({ "keys": keys }).to_string())
    }
}

/// A running server on 127.0.0.1, ended when dropped.
pub struct KeyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    requests: AtomicUsize,
}

impl KeyServer {
    /// A server that does this until told otherwise.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(behaviour: Behaviour) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { behaviour: Mutex::new(behaviour), requests: AtomicUsize::new(0) });
        let state = shared.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, state.clone()));
            }
        });
        Ok(Self { address, shared, serving })
    }

    /// Where the keys are.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// From now on it does this.
    pub fn becomes(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// Connections so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Whoever asked has gone: nothing is left to do.
async fn answer(stream: TcpStream, shared: Arc<Shared>) {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let behaviour = shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
    tokio::time::timeout(Duration::from_secs(60), speak(stream, behaviour)).await.ok();
}

async fn speak(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let (status, body) = match behaviour {
        Behaviour::Body(body) => ("200 OK", body),
        Behaviour::Status(status) => (status, String::new()),
        Behaviour::Away => return Ok(()),
        Behaviour::Silent => return std::future::pending().await,
        Behaviour::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[").await?;
            loop {
                stream.write_all(&[b' '; 4_096]).await?;
            }
        }
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}
