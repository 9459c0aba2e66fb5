//! A small receiver, as a user would write one: takes a webhook, keeps it, answers 200.

use std::net::SocketAddr;

use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use tokio::sync::mpsc;

/// What was received: the headers as they came, and the body.
pub(super) struct Received {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Received {
    /// The header `name`.
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// Starts the receiver on a free port of this machine; it ends with the process.
///
/// # Errors
/// When no port is free.
pub(super) fn start() -> std::io::Result<(SocketAddr, mpsc::Receiver<Received>)> {
    let (sender, received) = mpsc::channel(16);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let sender = Data::new(sender);
    let server = HttpServer::new(move || {
        App::new().app_data(sender.clone()).default_service(web::to(receive))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)?
    .run();
    tokio::spawn(server);
    Ok((address, received))
}

async fn receive(
    request: HttpRequest,
    body: Bytes,
    received: Data<mpsc::Sender<Received>>,
) -> HttpResponse {
    let text = |value: &actix_web::http::header::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    };
    let headers = request.headers().iter().map(|(k, v)| (k.to_string(), text(v))).collect();
    // Full when nobody looks any more: the tour is over.
    drop(received.try_send(Received { headers, body }));
    HttpResponse::Ok().body("OK")
}
