//! The way to the broker, for commands.

use std::time::Duration;

use anyhow::{Context, anyhow};
use broker::{Health, SharedBroker};
use domain::UserId;

use crate::commands::{parts, publish::own_client, token};
use crate::config::Settings;
use crate::operator::{Answer, Ask, operate};

/// How long RabbitMQ is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The broker, or the process that has it.
pub(crate) enum Access {
    Broker(SharedBroker),
    Process { client: reqwest::Client, url: String, token: String },
}

impl Access {
    /// RabbitMQ; or the running process of the embedded broker; or its file, where none runs.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        if settings.broker.url.starts_with("embedded://")
            && let Some(process) = Self::running(settings).await?
        {
            return Ok(process);
        }
        // Operators look; services declare.
        let mut looking = settings.clone();
        looking.broker.declare = false;
        let broker = parts::broker(&looking).await?;
        ready(&broker).await?;
        Ok(Self::Broker(broker))
    }

    async fn running(settings: &Settings) -> anyhow::Result<Option<Self>> {
        parts::verifier(settings)?;
        let client = own_client()?;
        let base = format!("http://{}", settings.api.bind);
        if client.get(format!("{base}/healthz")).send().await.is_err() {
            return Ok(None);
        }
        let user: UserId = "studio-webhooks-operator".parse().expect("a plain word is a user id");
        let token = token::issue(settings, &user, &["admin"], Duration::from_secs(3_600));
        Ok(Some(Self::Process { client, url: format!("{base}/internal/operate"), token }))
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        match self {
            Self::Broker(broker) => operate(broker.as_ref(), ask).await,
            Self::Process { client, url, token } => {
                let answer = client.post(url).bearer_auth(token).json(&ask).send().await;
                let answer = answer.with_context(|| format!("{url} does not answer"))?;
                let status = answer.status();
                if !status.is_success() {
                    let text = answer.text().await.unwrap_or_default();
                    return Err(anyhow!("{url} answered {status}: {text}"));
                }
                answer.json().await.with_context(|| format!("the answer of {url}"))
            }
        }
    }

    pub(crate) async fn close(self) {
        if let Self::Broker(broker) = self {
            broker.close().await;
        }
    }
}

async fn ready(broker: &SharedBroker) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + PATIENCE;
    while let Health::Away(reason) = broker.health() {
        if tokio::time::Instant::now() >= until {
            broker.close().await;
            return Err(anyhow!("the broker cannot be used: {reason}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
