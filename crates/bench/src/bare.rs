//! The least that an HTTP server of the same framework can do: the same bytes, from memory.

use std::net::TcpListener;

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};

/// Serves `body` at every path on `address` until the process ends.
///
/// # Errors
/// When the address is taken.
pub async fn serve(address: &str, body: Vec<u8>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)?;
    let body = Bytes::from(body);
    let app = move || {
        let body = body.clone();
        let answer = move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type("application/json").body(body) }
        };
        App::new().default_service(web::to(answer))
    };
    HttpServer::new(app).tcp_nodelay(true).listen(listener)?.run().await?;
    Ok(())
}
