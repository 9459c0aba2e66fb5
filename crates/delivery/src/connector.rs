//! New connections: names through the guard, no proxies, TLS with the system's roots.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector, HttpInfo};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service as _;

use crate::failure::NoAnswer;
use crate::resolver::GuardedResolver;
use crate::{DeliveryConfig, DeliveryConfigError, Guard};

/// What HTTP is spoken over.
pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Makes connections. The only door out: every address was seen by the guard.
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector<GuardedResolver>>,
    longest: Duration,
}

/// A connection just made.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    pub(crate) address: Option<SocketAddr>,
    /// What both sides agreed on (ALPN, RFC 7301).
    pub(crate) is_http2: bool,
}

impl Connector {
    /// # Errors
    /// When a setting is wrong, or TLS cannot be set up (no root certificates on the machine).
    pub(crate) fn new(config: &DeliveryConfig, guard: &Guard) -> Result<Self, DeliveryConfigError> {
        let mut http = HttpConnector::new_with_resolver(GuardedResolver::new(config, guard)?);
        http.enforce_http(false);
        http.set_nodelay(true);
        // Shared among the addresses of a name, so that a dead one is not waited for alone.
        http.set_connect_timeout(Some(config.connect_timeout));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(rustls::crypto::ring::default_provider())
            .map_err(|e| DeliveryConfigError {
                key: "delivery",
                message: format!("TLS cannot be set up: {e}"),
            })?
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        Ok(Self { https, longest: config.connect_timeout })
    }

    /// Connects to the host of `uri`, TLS included.
    pub(crate) async fn connect(&self, uri: &Uri) -> Result<Connected, NoAnswer> {
        // It is always ready: it has no queue of its own.
        let connecting = self.https.clone().call(uri.clone());
        let stream = tokio::time::timeout(self.longest, connecting)
            .await
            .map_err(|_| NoAnswer::Timeout)?
            .map_err(NoAnswer::Connect)?;
        let about = stream.connected();
        let mut known = hyper::http::Extensions::new();
        about.get_extras(&mut known);
        let address = known.get::<HttpInfo>().map(HttpInfo::remote_addr);
        Ok(Connected { stream, address, is_http2: about.is_negotiated_h2() })
    }
}
