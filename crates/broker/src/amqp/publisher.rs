//! Publishing, on connections of its own: an alarm of the broker blocks every connection that
//! has published, its acknowledgements included.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, ConnectionProperties};

use crate::amqp::declare::{self, CONTROL, EVENTS, NOTICES};
use crate::amqp::link::Link;
use crate::amqp::properties;
use crate::{BrokerConfig, Outgoing, PublishError, Target};

/// How often the connection is looked after when nothing is published.
const CARE: Duration = Duration::from_secs(1);

/// What a blocked connection means.
const BLOCKED: &str = "it is out of memory or disk space (connection.blocked)";

/// Channels in confirm mode. Many publish on one at the same time.
pub(super) struct Publisher {
    link: Arc<Link>,
    channels: Pool<ChannelManager>,
    timeout: Duration,
    /// What is wrong, in words for operators.
    trouble: Mutex<Option<String>>,
}

/// Makes channels, each on a connection of its own, with everything declared.
struct ChannelManager {
    link: Arc<Link>,
    connections: deadpool_lapin::Pool,
}

struct ConfirmChannel {
    channel: Channel,
    connection: deadpool_lapin::Connection,
}

impl deadpool::managed::Manager for ChannelManager {
    type Type = ConfirmChannel;
    type Error = ChannelError;

    async fn create(&self) -> Result<ConfirmChannel, ChannelError> {
        let connection = self.connections.get().await.map_err(|e| ChannelError(e.to_string()))?;
        declare::topology(&connection, &self.link.config).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(ConfirmChannel { channel, connection })
    }

    async fn recycle(
        &self,
        channel: &mut ConfirmChannel,
        _: &Metrics,
    ) -> RecycleResult<ChannelError> {
        if channel.channel.status().connected() {
            Ok(())
        } else {
            Err(RecycleError::message("the channel is closed"))
        }
    }
}

/// A channel cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ChannelError(String);

impl From<lapin::Error> for ChannelError {
    fn from(error: lapin::Error) -> Self {
        Self(error.to_string())
    }
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>, config: &BrokerConfig) -> Self {
        let size = usize::from(config.publish_connections.clamp(1, 16));
        let properties =
            || ConnectionProperties::default().with_connection_name("studio-webhooks".into());
        let manager = deadpool_lapin::Manager::new(&*link.url, properties, link.runtime.clone());
        let connections = deadpool_lapin::Pool::builder(manager)
            .max_size(size)
            .build()
            .expect("a pool without time-outs needs no runtime");
        let manager = ChannelManager { link: link.clone(), connections };
        let channels = Pool::builder(manager)
            .max_size(size)
            .build()
            .expect("a pool without time-outs needs no runtime");
        let trouble = Mutex::new(Some("publishing: connecting".to_owned()));
        Self { link, channels, timeout: config.publish_timeout, trouble }
    }

    /// Publishes and waits for the confirm.
    pub(super) async fn publish(
        &self,
        target: &Target,
        message: Outgoing,
    ) -> Result<(), PublishError> {
        let (exchange, key, mandatory) = match target {
            Target::Events(kind) => (EVENTS, kind.as_str().to_owned(), true),
            Target::Queue(queue) => ("", queue.to_string(), true),
            Target::Notices(key) => (NOTICES, (*key).to_owned(), false),
        };
        self.send(exchange, &key, mandatory, message).await
    }

    /// Publishes an announcement, whether anybody listens or not.
    pub(super) async fn announce(&self, message: Outgoing) -> Result<(), PublishError> {
        self.send(CONTROL, "", false, message).await
    }

    /// What is wrong, if anything.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn close(&self) {
        self.channels.close();
    }

    async fn send(
        &self,
        exchange: &str,
        key: &str,
        mandatory: bool,
        message: Outgoing,
    ) -> Result<(), PublishError> {
        let confirmed = tokio::time::timeout(self.timeout, async {
            let channel = self.channel().await?;
            let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
            let properties = properties::outgoing(&message);
            channel
                .basic_publish(exchange.into(), key.into(), options, &message.body, properties)
                .await
                .map_err(away)?
                .await
                .map_err(away)
        });
        let waited = || {
            let reason = format!("no confirm within {} ms", self.timeout.as_millis());
            PublishError::Unavailable(reason)
        };
        judge(confirmed.await.map_err(|_| waited())??)
    }

    /// A channel to share: the next publisher gets it while this one waits for its confirm.
    async fn channel(&self) -> Result<Channel, PublishError> {
        let object: Object<ChannelManager> = self.channels.get().await.map_err(|e| match e {
            PoolError::Backend(error) => PublishError::Unavailable(error.to_string()),
            other => PublishError::Unavailable(other.to_string()),
        })?;
        if object.connection.status().blocked() {
            return Err(PublishError::Unavailable(BLOCKED.to_owned()));
        }
        Ok(object.channel.clone())
    }

    fn note(&self, trouble: Option<String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &trouble) {
            (None, Some(reason)) => tracing::warn!("publishing does not work: {reason}"),
            (Some(_), None) => tracing::info!("publishing works"),
            _ => {}
        }
        *known = trouble.map(|reason| format!("publishing: {reason}"));
    }
}

fn away(error: lapin::Error) -> PublishError {
    PublishError::Unavailable(error.to_string())
}

/// Only an acknowledgement without a returned message says that it is stored *and* routed.
fn judge(confirmation: Confirmation) -> Result<(), PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            Err(PublishError::Refused(returned.reply_text.to_string()))
        }
        Confirmation::Nack(None) => {
            Err(PublishError::Refused("a queue is full or could not store it".into()))
        }
        Confirmation::NotRequested => {
            Err(PublishError::Unavailable("the channel has no confirms".into()))
        }
    }
}

/// Connects before the first publish needs it, and again after a loss, for as long as the link
/// lives; knows what is wrong meanwhile.
pub(super) async fn keep_connected(publisher: Arc<Publisher>) {
    loop {
        let tried = tokio::time::timeout(publisher.timeout, publisher.channel()).await;
        publisher.note(match tried {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no connection in time".to_owned()),
        });
        tokio::select! {
            () = publisher.link.closing.cancelled() => return,
            () = tokio::time::sleep(CARE) => {}
        }
    }
}
