//! A webhook made ready for attempts: what can be parsed and derived once is.

use std::sync::Arc;

use domain::{Secret, Signer, Webhook, WebhookId};
use hyper::Uri;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use time::OffsetDateTime;
use url::{Position, Url};

/// How every attempt introduces itself, unless its webhook says otherwise.
const AGENT: &str = concat!("Sentimatrix-Studio-Webhooks/", env!("CARGO_PKG_VERSION"));

/// Where and how to deliver. Cheap to share, made once for each version of a webhook.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Whose it is.
    pub webhook: WebhookId,
    pub(crate) target: Target,
    /// What is the same in all of its requests.
    pub(crate) headers: HeaderMap,
    pub(crate) signer: Signer,
    previous: Option<(Signer, OffsetDateTime)>,
}

/// A URL in the forms that sending needs.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    /// The scheme, host and port: whose connections can be used.
    pub(crate) origin: Arc<str>,
    /// All of it.
    pub(crate) uri: Uri,
    /// Path and query, which is what HTTP/1.1 asks for (RFC 9112, section 3.2.1).
    pub(crate) path: Uri,
    /// The host, and the port where it is not the scheme's own.
    pub(crate) host: HeaderValue,
}

/// A stored webhook cannot be delivered to: its URL or headers are not what the API lets in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the webhook's {0} cannot be used")]
pub struct InvalidEndpoint(pub &'static str);

impl Endpoint {
    /// `webhook`, as it is at `now`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when its URL or a header cannot be read.
    pub fn new(webhook: &Webhook, now: OffsetDateTime) -> Result<Self, InvalidEndpoint> {
        let (signer, previous) = webhook.signers(now);
        let until = webhook.previous_secret.as_ref().map(|(_, until)| *until);
        let mut own = HeaderMap::with_capacity(webhook.headers.values().len());
        for (name, value) in webhook.headers.values() {
            let name: HeaderName = name.parse().map_err(|_| InvalidEndpoint("headers"))?;
            let mut value: HeaderValue = value.parse().map_err(|_| InvalidEndpoint("headers"))?;
            // `Debug` does not show it, and HTTP/2 does not keep it for the requests that follow.
            value.set_sensitive(true);
            own.insert(name, value);
        }
        let target = Target::parse(&webhook.url).ok_or(InvalidEndpoint("url"))?;
        Ok(Self {
            webhook: webhook.id,
            headers: headers(own, &target),
            target,
            signer,
            previous: previous.zip(until),
        })
    }

    /// An endpoint at `url` that is no stored webhook's, signed with `secret`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when the URL cannot be read.
    pub fn unregistered(url: &str, secret: &Secret) -> Result<Self, InvalidEndpoint> {
        let target = Target::parse(url).ok_or(InvalidEndpoint("url"))?;
        Ok(Self {
            webhook: WebhookId::generate(),
            headers: headers(HeaderMap::new(), &target),
            target,
            signer: Signer::new(secret),
            previous: None,
        })
    }

    /// The signer of the secret before the last rotation, while its grace period lasts.
    pub(crate) fn previous_signer(&self, now: OffsetDateTime) -> Option<&Signer> {
        self.previous.as_ref().filter(|(_, until)| *until > now).map(|(signer, _)| signer)
    }

    /// The host and port, for limits per host.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.target.url.host_str().unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host);
        format!("{host}:{}", self.target.url.port_or_known_default().unwrap_or_default())
    }
}

/// What the webhook asks for, and what every request has.
fn headers(mut own: HeaderMap, target: &Target) -> HeaderMap {
    own.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    own.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    own.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    own.insert(HOST, target.host.clone());
    own
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let host = &url[Position::BeforeHost..Position::BeforePath];
        Some(Self {
            origin: format!("{}://{host}", url.scheme()).into(),
            uri: url[..Position::AfterQuery].parse().ok()?,
            path: path.parse().ok()?,
            host: HeaderValue::from_str(host).ok()?,
            url,
        })
    }
}
