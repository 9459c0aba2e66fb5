//! TLS: HTTP/2 where the endpoint offers it, and a named cause for every bad certificate.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bench::dns::{DnsAnswer, FakeDns};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::events::Published;
use crate::support::studio::{Backend, Studio};
use crate::support::wait_for;

/// Runs `openssl` in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// An authority: `ca.pem`, which the services are told to trust.
pub(crate) fn authority(folder: &Path) {
    openssl(folder, &format!("req -x509 {KEY} -keyout ca.key -out ca.pem -subj /CN=tests -days 2"));
}

/// A certificate of the authority for `host`: `NAME.pem` and `NAME.key`.
pub(crate) fn certificate(folder: &Path, name: &str, host: &str, days: u32) {
    openssl(folder, &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
    let extensions = format!("subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\n");
    std::fs::write(folder.join(format!("{name}.ext")), extensions).unwrap();
    let sign = format!("x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial");
    openssl(folder, &format!("{sign} -days {days} -extfile {name}.ext -out {name}.pem"));
}

pub(crate) fn self_signed(folder: &Path, name: &str, host: &str) {
    let request = format!("req -x509 {KEY} -keyout {name}.key -out {name}.pem -days 2");
    openssl(folder, &format!("{request} -subj /CN={name} -addext subjectAltName=DNS:{host}"));
}

/// An https endpoint that takes everything.
#[derive(Clone, Default)]
struct Secure {
    connections: Arc<AtomicUsize>,
    versions: Arc<Mutex<Vec<Version>>>,
}

impl Secure {
    /// Serves with the certificate `name` and offers these protocols; gives back the port.
    async fn start(folder: &Path, name: &str, protocols: &[&str]) -> (Self, u16) {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let chain = CertificateDer::pem_file_iter(file("pem")).unwrap().map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let secure = Self::default();
        tokio::spawn(secure.clone().serve(listener, TlsAcceptor::from(Arc::new(config))));
        (secure, port)
    }

    async fn serve(self, listener: TcpListener, acceptor: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let (secure, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                secure.connections.fetch_add(1, Ordering::AcqRel);
                let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    secure.versions.lock().unwrap().push(request.version());
                    async {
                        request.into_body().collect().await?;
                        hyper::Result::Ok(Response::new(Empty::<Bytes>::new()))
                    }
                });
                let (io, executor) = (TokioIo::new(stream), TokioExecutor::new());
                // The client may leave at any moment.
                if second {
                    let server = hyper::server::conn::http2::Builder::new(executor);
                    server.serve_connection(io, service).await.ok();
                } else {
                    let server = hyper::server::conn::http1::Builder::new();
                    server.serve_connection(io, service).await.ok();
                }
            });
        }
    }

    fn count(&self) -> usize {
        self.versions.lock().unwrap().len()
    }
}

/// An installation that trusts the authority in `folder` and asks `dns`.
async fn studio(folder: &Path, dns: &FakeDns) -> Studio {
    let authority = folder.join("ca.pem").display().to_string();
    let dns = dns.address().to_string();
    let settings =
        [("SSL_CERT_FILE", authority.as_str()), ("STUDIO__DELIVERY__DNS_SERVERS", dns.as_str())];
    Studio::with(Backend::Embedded, &settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_where_it_is_offered_over_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    authority(folder.path());
    certificate(folder.path(), "good", "good.test", 2);
    let dns = FakeDns::start().await.unwrap();
    dns.answer("good.test", [DnsAnswer::address(std::net::Ipv4Addr::LOCALHOST)]);
    let studio = studio(folder.path(), &dns).await;
    for (offered, expected, connections) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2, 1..=1),
        (&["http/1.1"][..], Version::HTTP_11, 1..=20),
    ] {
        let (endpoint, port) = Secure::start(folder.path(), "good", offered).await;
        let user = format!("usr_{port}");
        studio.webhook(&user, &format!("https://good.test:{port}/"), json!({})).await;
        // The first shows what is offered; the others, all at once, use it.
        for count in [1, 20] {
            let before = endpoint.count();
            let events = Published::several(&user, count);
            studio.publish_all(&events).await;
            wait_for("their arrival", || async {
                (endpoint.count() >= before + count).then_some(())
            })
            .await;
        }
        let versions = endpoint.versions.lock().unwrap().clone();
        assert!(versions.iter().all(|version| *version == expected), "{versions:?}");
        let made = endpoint.connections.load(Ordering::Acquire);
        assert!(connections.contains(&made), "{made} connections for {offered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_fails_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    authority(here);
    certificate(here, "expired", "expired.test", 0);
    certificate(here, "other", "somebody-else.test", 2);
    self_signed(here, "own", "own.test");
    let dns = FakeDns::start().await.unwrap();
    let studio = studio(here, &dns).await;
    // A certificate of no days is good to the end of its second.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    for (name, cause) in [
        ("expired", "TLS error: the certificate has expired"),
        ("other", "TLS error: the certificate is for another name"),
        ("own", "TLS error: the certificate is self-signed, or an authority's own"),
    ] {
        let host = format!("{name}.test");
        dns.answer(&host, [DnsAnswer::address(std::net::Ipv4Addr::LOCALHOST)]);
        let (endpoint, port) = Secure::start(here, name, &["h2", "http/1.1"]).await;
        let webhook = studio.webhook("usr_1", &format!("https://{host}:{port}/"), json!({})).await;
        let test = format!("/v1/webhooks/{}/test", webhook.id);
        let token = studio.token("usr_1", "user");
        let (_, tested) = studio.call("POST", &test, &token, None).await;
        assert_eq!(tested["data"]["error"], cause);
        assert_eq!((&tested["data"]["delivered"], endpoint.count()), (&json!(false), 0));
    }
}
