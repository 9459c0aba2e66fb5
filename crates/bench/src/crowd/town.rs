//! An installation as users and publishers see it: its API, and where events are published.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::event::{SampleEvent, unix_micros};
use crate::publish::{AmqpPublisher, HttpPublisher, PublishError};
use crate::token::access_token;

/// Events that may wait for their confirm at the same time.
const WINDOW: usize = 500;

/// Events of one request to the API.
const BATCH: usize = 500;

/// Calls of the API that are under way at the same time while webhooks are made.
const CALLS: usize = 16;

/// Where users have webhooks and publishers publish.
pub struct Town {
    api: String,
    secret: String,
    client: reqwest::Client,
    publisher: Publisher,
    published: AtomicU64,
}

enum Publisher {
    Amqp(AmqpPublisher),
    Http(HttpPublisher),
}

/// A webhook that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose it is.
    pub user: String,
    /// Its endpoint.
    pub url: String,
    /// Fields beside name, URL and `"events": ["*"]`.
    pub fields: Value,
}

impl Town {
    /// The installation whose API is at `api` and whose tokens are signed with `secret`; events are
    /// published to the broker at `amqp`, or through the API.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn at(api: &str, secret: &str, amqp: Option<&str>) -> anyhow::Result<Self> {
        let publisher = match amqp {
            Some(url) => Publisher::Amqp(AmqpPublisher::connect(url).await?),
            None => {
                let token = access_token(secret, "svc", &["service"]);
                Publisher::Http(HttpPublisher::new(api, &token)?)
            }
        };
        let (api, secret) = (api.to_owned(), secret.to_owned());
        let client = crate::product::client()?;
        Ok(Self { api, secret, client, publisher, published: AtomicU64::new(0) })
    }

    /// Makes webhooks, several at a time; they count shortly after that. Their ids, in no order.
    ///
    /// # Errors
    /// What the API said to the first that it refused.
    pub async fn make(&self, webhooks: Vec<Wanted>) -> anyhow::Result<Vec<String>> {
        let mut made =
            stream::iter(webhooks).map(|wanted| self.webhook(wanted)).buffer_unordered(CALLS);
        let mut ids = Vec::new();
        while let Some(id) = made.next().await {
            ids.push(id?);
        }
        // An announced change counts within 100 ms.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        Ok(ids)
    }

    async fn webhook(&self, wanted: Wanted) -> anyhow::Result<String> {
        let mut body = json!({ "name": "crowd", "url": wanted.url, "events": ["*"] });
        if let (Some(body), Value::Object(fields)) = (body.as_object_mut(), wanted.fields) {
            body.extend(fields);
        }
        let request = self.client.post(format!("{}/v1/webhooks", self.api));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = self.answer(request, &wanted.user).await?;
        let id = answer["data"]["id"].as_str();
        Ok(id.ok_or_else(|| anyhow::anyhow!("a webhook without an id: {answer}"))?.to_owned())
    }

    /// How many deliveries of the webhook have this status in its owner's log, up to 10,000.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn logged(&self, user: &str, webhook: &str, status: &str) -> anyhow::Result<u64> {
        let path = format!("/v1/webhooks/{webhook}/logs?status={status}&limit=1");
        let request = self.client.get(format!("{}{path}", self.api));
        let answer = self.answer(request, user).await?;
        Ok(answer["meta"]["pagination"]["total"].as_u64().unwrap_or(0))
    }

    async fn answer(&self, request: reqwest::RequestBuilder, user: &str) -> anyhow::Result<Value> {
        let token = access_token(&self.secret, user, &["user"]);
        let answer = request.bearer_auth(token).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "the API answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// An event of `user` in `project` with this in its `data`, members of an object without the
    /// braces; its id is nobody else's.
    #[must_use]
    pub fn event(&self, user: &str, project: &str, members: &str) -> SampleEvent {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let data = format!(r#"{{"project_id":"{project}",{members}}}"#);
        SampleEvent::new(format!("c{}-{number}", unix_micros()), user, project).with_data(data)
    }

    /// Publishes one event.
    ///
    /// # Errors
    /// When it is not confirmed.
    pub async fn publish(&self, event: &SampleEvent) -> Result<(), PublishError> {
        match &self.publisher {
            Publisher::Amqp(publisher) => publisher.publish(event).await,
            Publisher::Http(publisher) => publisher.publish(event).await,
        }
    }

    /// Publishes `count` events in their order, as fast as they are confirmed; each is made when
    /// its turn comes.
    ///
    /// # Errors
    /// At the first that is not confirmed.
    pub async fn publish_all(
        &self,
        count: usize,
        make: impl Fn(usize) -> SampleEvent,
    ) -> Result<(), PublishError> {
        match &self.publisher {
            Publisher::Amqp(publisher) => {
                publisher.publish_all(count, WINDOW, make).await.map(drop)
            }
            Publisher::Http(publisher) => {
                for start in (0..count).step_by(BATCH) {
                    let batch: Vec<_> = (start..(start + BATCH).min(count)).map(&make).collect();
                    publisher.publish_batch(&batch).await?;
                }
                Ok(())
            }
        }
    }
}
