//! A webhook made ready for attempts: what can be parsed and derived once is.

use domain::{Secret, Signer, Webhook, WebhookId};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;

/// Where and how to deliver. Cheap to share, made once for each version of a webhook.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Whose it is.
    pub webhook: WebhookId,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) signer: Signer,
    previous: Option<(Signer, OffsetDateTime)>,
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
        let mut headers = HeaderMap::with_capacity(webhook.headers.len());
        for (name, value) in &webhook.headers {
            let name: HeaderName = name.parse().map_err(|_| InvalidEndpoint("headers"))?;
            let value: HeaderValue = value.parse().map_err(|_| InvalidEndpoint("headers"))?;
            headers.insert(name, value);
        }
        Ok(Self {
            webhook: webhook.id,
            url: Url::parse(&webhook.url).map_err(|_| InvalidEndpoint("url"))?,
            headers,
            signer,
            previous: previous.zip(until),
        })
    }

    /// An endpoint at `url` that is no stored webhook's, signed with `secret`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when the URL cannot be read.
    pub fn unregistered(url: &str, secret: &Secret) -> Result<Self, InvalidEndpoint> {
        Ok(Self {
            webhook: WebhookId::generate(),
            url: Url::parse(url).map_err(|_| InvalidEndpoint("url"))?,
            headers: HeaderMap::new(),
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
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or_default())
    }
}
