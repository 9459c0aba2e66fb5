//! Publishers that know of the product what its documentation says: the exchange
//! `studio.events`, and `POST /v1/events`.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection};

use crate::event::SampleEvent;
use crate::http::{HttpClient, HttpError};

/// How long a publisher waits for a confirm, as a Studio service would.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an event is not known to be accepted. It may be, and may still arrive.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker, or the way to it.
    #[error("the broker: {0}")]
    Broker(#[from] lapin::Error),
    /// The broker took the message and had no queue for it.
    #[error("no queue takes it: {0}")]
    Unroutable(String),
    /// The broker refused the message (a full queue).
    #[error("the broker refused it")]
    Refused,
    /// No confirm came in time.
    #[error("no confirm within 10 s")]
    Timeout,
    /// The API could not be asked.
    #[error("the API: {0}")]
    Http(#[from] HttpError),
    /// The API answered something other than 202.
    #[error("the API answered {status}: {body}")]
    Status {
        /// The status.
        status: u16,
        /// The beginning of its body.
        body: String,
    },
}

/// Publishes to the exchange `studio.events`, persistent, mandatory and confirmed.
#[derive(Debug)]
pub struct AmqpPublisher {
    connection: Connection,
    channel: Channel,
    exchange: ShortString,
}

impl AmqpPublisher {
    /// Connects; nothing is declared: the product has to.
    ///
    /// # Errors
    /// [`PublishError::Broker`].
    pub async fn connect(url: &str) -> Result<Self, PublishError> {
        Self::to_exchange(url, "studio.events").await
    }

    /// A publisher to another exchange; `""` sends to the queue that the routing key names.
    ///
    /// # Errors
    /// [`PublishError::Broker`].
    pub async fn to_exchange(url: &str, exchange: &str) -> Result<Self, PublishError> {
        let connection = crate::servers::connect(url).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel, exchange: exchange.into() })
    }

    /// Publishes one event and waits for its confirm.
    ///
    /// # Errors
    /// [`PublishError`]; only success means accepted.
    pub async fn publish(&self, event: &SampleEvent) -> Result<(), PublishError> {
        self.publish_body(&event.kind, event.message().as_bytes()).await
    }

    /// Publishes any body as `application/json`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_body(&self, routing_key: &str, body: &[u8]) -> Result<(), PublishError> {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        self.publish_raw(routing_key, body, properties).await
    }

    /// Publishes any body with any properties.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_raw(
        &self,
        routing_key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (self.exchange.clone(), routing_key.into());
        let sent = self.channel.basic_publish(exchange, key, options, body, properties);
        let confirmed = async { sent.await?.await };
        match tokio::time::timeout(CONFIRM_TIMEOUT, confirmed).await {
            Err(_) => Err(PublishError::Timeout),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(Confirmation::Ack(Some(returned)))) => {
                Err(PublishError::Unroutable(returned.reply_text.to_string()))
            }
            Ok(Ok(_)) => Err(PublishError::Refused),
        }
    }

    /// Publishes events with up to `window` unconfirmed at a time; `make` is called when an
    /// event's turn comes, so that the time in it is true. Returns how many were confirmed.
    ///
    /// # Errors
    /// The first [`PublishError`]; later events are then not published.
    pub async fn publish_all(
        &self,
        count: usize,
        window: usize,
        make: impl Fn(usize) -> SampleEvent,
    ) -> Result<usize, PublishError> {
        let make = &make;
        let mut sent = stream::iter(0..count)
            .map(|index| async move { self.publish(&make(index)).await })
            .buffer_unordered(window);
        let mut confirmed = 0;
        while let Some(result) = sent.next().await {
            result?;
            confirmed += 1;
        }
        Ok(confirmed)
    }

    /// Closes the connection in order.
    ///
    /// # Errors
    /// [`PublishError::Broker`] when it was gone already.
    pub async fn close(self) -> Result<(), PublishError> {
        Ok(self.connection.close(200, "done".into()).await?)
    }
}

/// Publishes through `POST /v1/events` with a token of the role `service`.
#[derive(Clone, Debug)]
pub struct HttpPublisher {
    client: HttpClient,
}

impl HttpPublisher {
    /// A publisher to the API at `base`.
    ///
    /// # Errors
    /// [`PublishError::Http`] when the token is no header value.
    pub fn new(base: &str, token: &str) -> Result<Self, PublishError> {
        Ok(Self { client: HttpClient::new(base).with_token(token)? })
    }

    /// Publishes one event and waits for the 202.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(&self, event: &SampleEvent) -> Result<(), PublishError> {
        self.post(event.message()).await
    }

    /// Publishes up to 1,000 events in one request.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_batch(&self, events: &[SampleEvent]) -> Result<(), PublishError> {
        let messages: Vec<String> = events.iter().map(SampleEvent::message).collect();
        self.post(format!(r#"{{"events":[{}]}}"#, messages.join(","))).await
    }

    async fn post(&self, body: String) -> Result<(), PublishError> {
        let reply = self.client.post("/v1/events", body).await?;
        if reply.status.as_u16() == 202 {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&reply.body).chars().take(300).collect();
        Err(PublishError::Status { status: reply.status.as_u16(), body })
    }
}
