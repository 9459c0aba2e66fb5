//! What the tests are written with.

use std::future::Future;
use std::time::Duration;

use delivery::{DeliveryConfig, Endpoint, Sender};
use domain::{AttemptReport, DeliveryId, Event, Origin, Secret, Webhook, WebhookId};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

/// The longest attempt of these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(1_000);

/// Short times, and this machine allowed.
pub(crate) fn config() -> DeliveryConfig {
    DeliveryConfig {
        allow_networks: vec!["127.0.0.0/8".into()],
        timeout: TIMEOUT,
        connect_timeout: Duration::from_millis(500),
        ..DeliveryConfig::default()
    }
}

pub(crate) fn sender() -> Sender {
    Sender::new(&config()).unwrap()
}

/// One attempt to `url`.
pub(crate) async fn attempt(sender: &Sender, url: &str) -> AttemptReport {
    let text = r#"{"id":"evt_1","event":"scrape.failed","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{}}"#;
    let event = Event::from_json(text.as_bytes(), &Origin::default()).unwrap();
    let endpoint = endpoint(url);
    let id = DeliveryId::derive(&event.user, &event.id, endpoint.webhook, "");
    sender.attempt(&endpoint, &event, id, 1).await
}

fn endpoint(url: &str) -> Endpoint {
    let now = OffsetDateTime::now_utc();
    let webhook = Webhook {
        id: WebhookId::generate(),
        user: "usr_1".parse().unwrap(),
        name: "test".into(),
        url: url.into(),
        events: vec!["*".into()],
        project_ids: Vec::new(),
        filter: None,
        rate_limit: None,
        ordered: false,
        headers: Default::default(),
        secret: Secret::new("a secret of the test"),
        previous_secret: None,
        signing_key: None,
        previous_signing_key: None,
        active: true,
        description: None,
        metadata: Default::default(),
        disabled_reason: None,
        disabled_at: None,
        created_at: now,
        updated_at: now,
        request_changed_at: None,
        pending_since: None,
        verified_at: None,
    };
    Endpoint::new(&webhook, now).unwrap()
}

/// The words and the kind of a failure.
pub(crate) fn failure(report: &AttemptReport) -> (&str, &str) {
    let failure = report.failure.as_ref().unwrap();
    (failure.kind.as_str(), &failure.text)
}

/// An endpoint that does `serve` with each connection; its address.
pub(crate) async fn serving<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Waits for a request, or what there is of it.
pub(crate) async fn request(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read(&mut [0; 4_096]).await.map(drop)
}
