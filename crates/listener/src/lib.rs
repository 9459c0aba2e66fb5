//! How every HTTP listener of ours lets connections in: what may be slow, what may stand still,
//! and how many may come from one address. [`serve_at`] is the one way to listen, so that no
//! listener can be without these rules.

mod door;
mod kernel;

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use actix_web::{Error, HttpServer};

pub use door::{Door, Rules};

/// Longest time that the head of a request may take to arrive.
pub const SLOWEST_HEAD: Duration = Duration::from_secs(10);

/// Lets `server` take the connections of `listener` by the rules of `door`.
///
/// # Errors
/// When the kernel refuses an option, or the listener cannot be served.
pub fn serve_at<F, I, S, B>(
    server: HttpServer<F, I, S, B>,
    listener: TcpListener,
    door: &Arc<Door>,
) -> std::io::Result<HttpServer<F, I, S, B>>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    kernel::prepare(&listener, door.stalled_after())?;
    let door = door.clone();
    server
        .tcp_nodelay(true)
        .client_request_timeout(SLOWEST_HEAD)
        .disable_signals()
        .on_connect(move |connection, data| door.let_in(connection, data))
        .listen(listener)
}
