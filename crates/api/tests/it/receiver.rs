//! An endpoint of a webhook, on this machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What an endpoint received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| {
            line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name))
        });
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    }
}

/// What an endpoint answers to a request: a status line and a body.
type Answers = Arc<dyn Fn(&Received) -> (&'static str, String) + Send + Sync>;

/// Answers every request by the same rule and remembers it.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    arrived: Arc<Semaphore>,
    released: Arc<Semaphore>,
    answers: Answers,
}

impl Receiver {
    /// Answers with this status line and body.
    pub(crate) async fn answering(status: &'static str, body: &'static str) -> Self {
        Self::by(move |_| (status, body.to_owned())).await
    }

    /// Answers as `rule` says.
    pub(crate) async fn by(
        rule: impl Fn(&Received) -> (&'static str, String) + Send + Sync + 'static,
    ) -> Self {
        let receiver = Self::held(Arc::new(rule)).await;
        receiver.released.add_permits(Semaphore::MAX_PERMITS / 2);
        receiver
    }

    /// Answers each request once [`Receiver::release`] lets it.
    pub(crate) async fn waiting(status: &'static str, body: &'static str) -> Self {
        Self::held(Arc::new(move |_: &Received| (status, body.to_owned()))).await
    }

    /// Answers each request as `rule` says once [`Receiver::release`] lets it.
    pub(crate) async fn held(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (arrived, released) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let receiver = Self { address, received, arrived, released, answers };
        let endpoint = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(endpoint.clone().serve(stream));
            }
        });
        receiver
    }

    /// Waits for a request.
    pub(crate) async fn arrival(&self) {
        let arrival = self.arrived.acquire();
        let arrived = tokio::time::timeout(Duration::from_secs(10), arrival).await;
        arrived.expect("a request arrives within 10 s").unwrap().forget();
    }

    /// Lets one request be answered.
    pub(crate) fn release(&self) {
        self.released.add_permits(1);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
        let mut request = Received { head, body: Vec::new() };
        let length: usize = request.header("content-length").parse().unwrap();
        while bytes.len() < head_end + length {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        request.body = bytes.split_off(head_end);
        let (status, body) = (self.answers)(&request);
        self.received.lock().unwrap().push(request);
        self.arrived.add_permits(1);
        self.released.acquire().await.unwrap().forget();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        // A caller that went away is its own affair.
        stream.write_all(answer.as_bytes()).await.ok();
    }
}
