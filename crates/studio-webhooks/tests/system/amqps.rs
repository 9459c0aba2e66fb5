//! AMQP over TLS: the broker's certificate is checked before anything is said to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench::servers::RabbitMq;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::endpoint::Endpoint;
use crate::support::studio::{Backend, Studio};
use crate::support::wait_for;
use crate::tls::{authority, certificate, self_signed};

/// The shared broker behind TLS.
#[derive(Clone, Default)]
struct Front {
    /// Handshakes that were made.
    trusted: Arc<AtomicUsize>,
    /// Those that the client gave up.
    refused: Arc<AtomicUsize>,
}

impl Front {
    /// Listens with the certificate `name` in `folder`; gives back the port.
    async fn start(folder: &Path, name: &str) -> (Self, u16) {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let chain = CertificateDer::pem_file_iter(file("pem")).unwrap().map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
        rustls::crypto::ring::default_provider().install_default().ok();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let front = Self::default();
        tokio::spawn(front.clone().serve(listener, TlsAcceptor::from(Arc::new(config))));
        (front, port)
    }

    async fn serve(self, listener: TcpListener, acceptor: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let (front, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    front.refused.fetch_add(1, Ordering::AcqRel);
                    return;
                };
                front.trusted.fetch_add(1, Ordering::AcqRel);
                let broker = ("127.0.0.1", RabbitMq::shared().port());
                let mut behind = TcpStream::connect(broker).await.unwrap();
                // Either side may leave at any moment.
                copy_bidirectional(&mut stream, &mut behind).await.ok();
            });
        }
    }
}

/// An installation that trusts the authority in `folder` and reaches the broker by `front`.
async fn studio(folder: &Path, port: u16) -> Studio {
    let authority = folder.join("ca.pem").display().to_string();
    let mut studio =
        Studio::prepare(Backend::Servers, &[("SSL_CERT_FILE", authority.as_str())]).await;
    let url = format!("amqps://guest:guest@localhost:{port}/{}", studio.vhost());
    studio.set("STUDIO__BROKER__URL", &url);
    studio
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_and_go_over_amqps() {
    let folder = tempfile::tempdir().unwrap();
    authority(folder.path());
    certificate(folder.path(), "broker", "localhost", 2);
    let (front, port) = Front::start(folder.path(), "broker").await;
    let mut studio = studio(folder.path(), port).await;
    studio.run(Backend::Servers).await;
    let endpoint = Endpoint::answering([200]).await;
    studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let token = studio.token("usr_1", "service");

    let event = json!({ "event": "scrape.completed", "user_id": "usr_1", "data": {} });
    let (status, answer) = studio.call("POST", "/v1/events", &token, Some(&event)).await;

    assert_eq!(status, 202, "{answer}");
    wait_for("the delivery", || async { (endpoint.count() == 1).then_some(()) }).await;
    // Three services, each with a connection to publish and one to read.
    assert!(front.trusted.load(Ordering::Acquire) >= 4);
    assert_eq!(front.refused.load(Ordering::Acquire), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_nobody_vouches_for_is_told_no_password() {
    let folder = tempfile::tempdir().unwrap();
    authority(folder.path());
    self_signed(folder.path(), "stranger", "localhost");
    certificate(folder.path(), "other", "broker.test", 2);
    for name in ["stranger", "other"] {
        let (front, port) = Front::start(folder.path(), name).await;
        let studio = studio(folder.path(), port).await;
        studio.migrate();

        studio.spawn("dispatcher", "dispatcher", &[]);

        wait_for("refused handshakes", || async {
            (front.refused.load(Ordering::Acquire) >= 2).then_some(())
        })
        .await;
        assert_eq!(front.trusted.load(Ordering::Acquire), 0, "{name}");
        let (status, _) = studio.readiness(&studio.dispatcher).await;
        assert_eq!(status, 503, "{name}");
    }
}
