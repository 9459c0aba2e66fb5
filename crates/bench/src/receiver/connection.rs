//! One connection: hyper reads requests and writes proper answers; for improper ones the socket
//! is taken back from it.

use std::error::Error as _;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::record::hash;
use super::{Answer, Arrival, Keep, Recorded, Shared};
use crate::event::unix_micros;

/// No event is longer than 256 KiB.
const MAX_BODY: usize = 1 << 20;

/// An answer that hyper cannot give; an error, so that hyper hands back the socket.
#[derive(Debug)]
struct Improper(Answer);

impl fmt::Display for Improper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer that is no HTTP")
    }
}

impl std::error::Error for Improper {}

/// Serves connections until it is aborted; they end with it.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
                // Out of descriptors: those in use have to end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    type Answering = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Improper>> + Send>>;
    let service =
        service_fn(|request| -> Answering { Box::pin(answer(request, Arc::clone(&shared))) });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let Err(error) = ended else { return };
    let improper = error.source().and_then(|source| source.downcast_ref::<Improper>());
    if let Some(Improper(answer)) = improper {
        let stream = connection.into_parts().io.into_inner();
        // The client may leave at any moment: that is what these answers are about.
        drop(misbehave(stream, answer).await);
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Improper> {
    let (at, unix_us) = (Instant::now(), unix_micros());
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(plain(413));
    };
    let body = body.to_bytes();
    let delivery = head.headers.get("x-sentimatrix-delivery").and_then(|id| id.to_str().ok());
    let answer = shared.scripts().next(head.uri.path(), delivery);
    if let Some(observer) = &shared.options.observer {
        let answered = answer.status();
        observer(&Arrival { at, unix_us, path: head.uri.path(), delivery, body: &body, answered });
    }
    if shared.options.keep != Keep::Counts {
        let body_hash = hash(&body);
        let path = head.uri.path().to_owned();
        let (method, headers) = (head.method, head.headers);
        let (body, answered) = (Some(body), answer.status());
        let request = Recorded { at, unix_us, method, path, headers, body, body_hash, answered };
        shared.records().push(request);
    }
    shared.count.fetch_add(1, Ordering::AcqRel);
    shared.arrived.notify_waiters();
    give(answer).await
}

async fn give(mut answer: Answer) -> Result<Response<Full<Bytes>>, Improper> {
    while let Answer::Later(delay, then) = answer {
        tokio::time::sleep(delay).await;
        answer = *then;
    }
    match answer {
        Answer::Status(status) => Ok(plain(status)),
        Answer::ByWorkers(workers) => Ok(plain(workers.work().await)),
        Answer::Full { status, headers, body } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::new(body)).unwrap_or_else(|_| plain(500)))
        }
        improper => Err(Improper(improper)),
    }
}

fn plain(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

async fn misbehave(mut stream: TcpStream, answer: &Answer) -> io::Result<()> {
    match answer {
        Answer::Never => silence(&mut stream).await,
        Answer::Drip => drip(&mut stream).await,
        Answer::Reset => stream.set_zero_linger(),
        Answer::Huge(length) => huge(&mut stream, *length).await,
        Answer::Raw(bytes) => stream.write_all(bytes).await,
        // The others are proper answers.
        _ => Ok(()),
    }
}

/// Until the other side gives up.
async fn silence(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1_024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

async fn drip(stream: &mut TcpStream) -> io::Result<()> {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    for byte in head.iter().chain(std::iter::repeat(&b'.')) {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn huge(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let block = [b'x'; 65_536];
    let mut left = length;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(&block[..size]).await?;
        left -= size as u64;
    }
    Ok(())
}
