//! The broker: there, with everything that is declared, and taking messages.

use std::time::Duration;

use broker::{BrokerConfig, Health, Outgoing, SharedBroker, Target};

use super::Finding;
use crate::commands::parts;
use crate::commands::publish::own_client;
use crate::config::Settings;

/// How long RabbitMQ is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// Published to see whether the broker takes messages; nobody listens for it.
const PROBE: &str = "doctor.probe";

pub(super) async fn check(s: &Settings) -> Vec<Finding> {
    if let Some(path) = s.broker.url.file("embedded") {
        return vec![embedded(s, path).await];
    }
    // First only looked at: doctor makes nothing.
    let looking = BrokerConfig { declare: false, ..s.broker.clone() };
    let (broker, reason) = match open(&looking).await {
        Ok(opened) => opened,
        Err(error) => return vec![Finding::fail("broker", format!("{error:#}"))],
    };
    let Some(reason) = reason else {
        let mut found = vec![Finding::ok(
            "broker",
            format!("{} is there, with every exchange and queue", s.broker.url.shown()),
        )];
        found.push(takes_messages(&broker).await);
        broker.close().await;
        if s.broker.declare {
            found.push(arguments(s).await);
        }
        return found;
    };
    broker.close().await;
    vec![match reason {
        reason if reason.contains("not on the broker") && s.broker.declare => Finding::warn(
            "broker",
            format!("there; a service declares what is missing when it starts ({reason})"),
        ),
        reason if reason.contains("not on the broker") => {
            Finding::fail("broker", format!("{reason}: declare it, or set broker.declare to true"))
        }
        reason => Finding::fail(
            "broker",
            format!(
                "{}: {reason}: is it running, and are broker.url and its user's rights right?",
                s.broker.url.shown()
            ),
        ),
    }]
}

/// Opens, and waits until it works; gives back why it does not.
async fn open(config: &BrokerConfig) -> anyhow::Result<(SharedBroker, Option<String>)> {
    let broker = broker::open(config).await?;
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match broker.health() {
            Health::Ready => return Ok((broker, None)),
            Health::Away(reason) => {
                let known = reason.contains("not on the broker") || reason.contains("arguments");
                if known || tokio::time::Instant::now() >= until {
                    return Ok((broker, Some(reason)));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn takes_messages(broker: &SharedBroker) -> Finding {
    let probe = broker.publish(Target::Notices(PROBE), Outgoing::json("{}".into())).await;
    match probe {
        Ok(()) => Finding::ok("alarms", "none: messages are taken"),
        Err(error) => Finding::fail(
            "alarms",
            format!("{error}: free memory or disk on the broker (rabbitmqctl status shows alarms)"),
        ),
    }
}

/// Everything is there: declaring it again compares the arguments and makes nothing.
async fn arguments(s: &Settings) -> Finding {
    match open(&s.broker).await {
        Err(error) => Finding::fail("topology", format!("{error:#}")),
        Ok((broker, reason)) => {
            broker.close().await;
            match reason {
                None => Finding::ok("topology", "queues have the arguments of this version"),
                Some(reason) => Finding::fail("topology", reason),
            }
        }
    }
}

/// The file belongs to the process that runs; without one it is opened.
async fn embedded(s: &Settings, path: &str) -> Finding {
    let base = format!("http://{}", s.api.bind);
    let running = match own_client() {
        Ok(client) => client.get(format!("{base}/readyz")).send().await.ok(),
        Err(error) => return Finding::fail("broker", format!("{error:#}")),
    };
    if let Some(answer) = running {
        return if answer.status().is_success() {
            Finding::ok("broker", format!("the process at {base} has it, and is ready"))
        } else {
            let text = format!(
                "the process at {base} is not ready: /readyz of its operators' listener \
                 (operate.bind) says why"
            );
            Finding::fail("broker", text)
        };
    }
    if !std::path::Path::new(path).exists() {
        let text = format!("{path} is not there yet: the process makes it when it starts");
        return Finding::warn("broker", text);
    }
    match parts::broker(s).await {
        Ok(broker) => {
            broker.close().await;
            Finding::ok("broker", format!("{path} can be opened; no process has it"))
        }
        Err(error) => Finding::fail("broker", format!("{error:#}")),
    }
}
