//! The wire to RabbitMQ: TCP, with TLS over it where the URL says `amqps`.
//!
//! lapin can make TLS itself, but brings a reader of PKCS#12 files with it, and with that twenty
//! crates of old ciphers and formats which nothing here uses. Without them it would speak plainly
//! whatever the URL says: connections are made here and nowhere else.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_compat::CompatExt as _;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Runtime, Tokio};
use futures::Stream;
use futures::io::{AsyncRead, AsyncWrite};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::amqp::link::CONNECT;

/// Connects to the broker at `uri`, on the runtime of `tokio`.
///
/// # Errors
/// What lapin says: the broker is away, refuses, or does not show a certificate that the system
/// trusts for the URL's host.
pub(super) async fn connect(uri: AMQPUri, tokio: Tokio) -> lapin::Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name("studio-webhooks".into());
    Connection::connector(uri, Runtime::new(Kit(tokio)), open, properties).await
}

/// Opens a wire. It gives up by itself: lapin does this on a thread, which nobody else would end.
async fn open(uri: AMQPUri, _: Runtime<Kit>) -> lapin::Result<AsyncTcpStream<Wire>> {
    let opened = tokio::time::timeout(CONNECT, dial(&uri)).await;
    let wire = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    // To lapin, what comes encrypted is plain, too.
    Ok(AsyncTcpStream::Plain(wire))
}

async fn dial(uri: &AMQPUri) -> io::Result<Wire> {
    let host = uri.authority.host.as_str();
    let tcp = TcpStream::connect((host, uri.authority.port)).await?;
    tcp.set_nodelay(true)?;
    match uri.scheme {
        AMQPScheme::AMQP => Ok(Box::new(tcp.compat())),
        AMQPScheme::AMQPS => {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            Ok(Box::new(tls()?.connect(name, tcp).await?.compat()))
        }
    }
}

/// As for deliveries: ring, and the authorities that the system trusts, read anew each time.
fn tls() -> io::Result<TlsConnector> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(io::Error::other)?
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A wire, encrypted or not.
type Wire = Box<dyn Duplex>;

/// What can be read and written.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Tokio as lapin takes it, with wires of ours for its connections.
#[derive(Clone, Debug)]
struct Kit(Tokio);

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, work: F) -> T {
        self.0.block_on(work)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(work)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for Kit {
    type TcpStream = Wire;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, length: Duration) -> Self::Sleep {
        self.0.sleep(length)
    }

    fn interval(&self, length: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(length)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Wire>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Box::new(connecting.await?) as Wire) }
    }
}
