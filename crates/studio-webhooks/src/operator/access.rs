//! The way to the broker, for commands.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use broker::{Health, SharedBroker};

use crate::commands::parts;
use crate::config::Settings;
use crate::operator::{Answer, Ask, operate, socket};

/// How long RabbitMQ is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The broker, or the process that has it.
pub(crate) enum Access {
    Broker(SharedBroker),
    /// By its socket.
    Process(PathBuf),
}

impl Access {
    /// RabbitMQ; or the running process of the embedded broker; or its file, where none runs.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        if let Some(process) = Self::running(settings).await? {
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
        let Some(path) = socket::path_of(settings) else { return Ok(None) };
        let running = socket::connect(&path).await?;
        Ok(running.map(|_| Self::Process(path)))
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        match self {
            Self::Broker(broker) => operate(broker.as_ref(), ask).await,
            Self::Process(path) => socket::ask(path, &ask).await,
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
