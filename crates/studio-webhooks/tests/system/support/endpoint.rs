//! A real HTTP endpoint that answers by a script and remembers every request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::support::wait_for;

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(&name.to_lowercase()).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("a JSON body")
    }

    pub(crate) fn event_id(&self) -> String {
        self.header("webhook-id").to_owned()
    }
}

/// How it answers.
#[derive(Clone)]
pub(crate) struct Script {
    /// The statuses in their order; the last one from then on.
    pub(crate) statuses: Vec<u16>,
    /// How long each answer takes.
    pub(crate) delay: Duration,
    /// Sent with each answer.
    pub(crate) location: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    /// Answered from now on instead of the script's; 0 for none.
    instead: Arc<AtomicU16>,
}

impl Endpoint {
    /// Answers with this status from now on.
    pub(crate) fn answer_from_now(&self, status: u16) {
        self.instead.store(status, Ordering::Relaxed);
    }

    /// Answers with these statuses in their order, then the last one for ever.
    pub(crate) async fn answering(statuses: impl Into<Vec<u16>>) -> Self {
        let script = Script { statuses: statuses.into(), delay: Duration::ZERO, location: None };
        Self::with(script).await
    }

    /// Answers 200 after `delay`.
    pub(crate) async fn slow(delay: Duration) -> Self {
        Self::with(Script { statuses: vec![200], delay, location: None }).await
    }

    pub(crate) async fn with(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let endpoint = Self { address, received, instead: Arc::default() };
        tokio::spawn(endpoint.clone().serve(listener, script));
        endpoint
    }

    async fn serve(self, listener: TcpListener, script: Script) {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (endpoint, script) = (self.clone(), script.clone());
            tokio::spawn(async move {
                let service =
                    service_fn(move |request| endpoint.clone().answer(request, script.clone()));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // The other side may be killed at any moment: that is what the tests do.
                serving.await.ok();
            });
        }
    }

    async fn answer(
        self,
        request: Request<Incoming>,
        script: Script,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let at = Instant::now();
        let path = request.uri().path().to_owned();
        let headers = request
            .headers()
            .iter()
            .map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect();
        let Ok(body) = request.into_body().collect().await else {
            return Ok(Response::new(Full::default()));
        };
        let turn = {
            let mut received = self.received.lock().unwrap();
            received.push(Received { at, path, headers, body: body.to_bytes() });
            received.len() - 1
        };
        if !script.delay.is_zero() {
            tokio::time::sleep(script.delay).await;
        }
        let status = match self.instead.load(Ordering::Relaxed) {
            0 => script.statuses[turn.min(script.statuses.len() - 1)],
            status => status,
        };
        let mut answer = Response::builder().status(status);
        if let Some(location) = &script.location {
            answer = answer.header("location", location);
        }
        Ok(answer.body(Full::from("OK")).unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        wait_for(&format!("request {count}"), || async {
            (self.count() >= count).then(|| self.requests())
        })
        .await
    }
}
