//! A small JSON client on hyper: keeps its connections, follows nothing, trusts nobody's proxy.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request itself is wrong: no such address or header.
    #[error("no request can be made: {0}")]
    Request(#[from] hyper::http::Error),
    /// The token is no header value.
    #[error("the token cannot stand in a header")]
    Token,
    /// No connection, or a broken one.
    #[error("no connection: {0}")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Answer(#[from] hyper::Error),
    /// Nothing came in 30 s.
    #[error("no answer within 30 s")]
    Timeout,
}

/// Speaks HTTP/1.1 with one service.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A pooled client with `TCP_NODELAY`: on loopback Nagle's algorithm would be what is measured.
#[must_use]
pub fn pooled_client(idle_per_host: usize) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(idle_per_host)
        .build(connector)
}

impl HttpClient {
    /// A client of the service at `base` (`http://127.0.0.1:8080`).
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self { client: pooled_client(256), base: base.into(), authorization: None }
    }

    /// The same client with a bearer token.
    ///
    /// # Errors
    /// [`HttpError::Token`] when the token holds what no header may.
    pub fn with_token(mut self, token: &str) -> Result<Self, HttpError> {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        self.authorization = Some(value.map_err(|_| HttpError::Token)?);
        Ok(self)
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`HttpError`] when no whole answer came; a status is none.
    pub async fn get(&self, path: &str) -> Result<Reply, HttpError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// [`HttpError`] when no whole answer came; a status is none.
    pub async fn post(&self, path: &str, json: impl Into<Bytes>) -> Result<Reply, HttpError> {
        self.send(Method::POST, path, json.into()).await
    }

    /// Any request with a JSON body.
    ///
    /// # Errors
    /// [`HttpError`] when no whole answer came; a status is none.
    pub async fn send(&self, method: Method, path: &str, json: Bytes) -> Result<Reply, HttpError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !json.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(json))?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok(Reply { status, body })
        };
        tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| HttpError::Timeout)?
    }
}
