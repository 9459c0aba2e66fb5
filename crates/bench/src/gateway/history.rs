//! A bare reader of the broker's stream: what the broker alone costs on an event's way.

use std::sync::Arc;

use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::task::JoinSet;

use crate::gateway::crowd::Seen;

/// Messages that the broker sends ahead.
const AHEAD: u16 = 1_024;

/// Notes each event of `studio.history` from now on, as it leaves the broker, until the task is
/// dropped.
///
/// # Errors
/// When the broker refuses.
pub async fn follow(url: &str) -> anyhow::Result<(JoinSet<()>, Arc<Seen>)> {
    let connection = crate::servers::connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("next".into()));
    let options = BasicConsumeOptions::default();
    let mut messages =
        channel.basic_consume("studio.history".into(), "bench".into(), options, arguments).await?;
    let seen = Arc::new(Seen::default());
    let noted = seen.clone();
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        // The connection lives as long as it is read.
        let _connection = connection;
        while let Some(Ok(message)) = messages.next().await {
            noted.note(&message.data);
            if message.ack(BasicAckOptions::default()).await.is_err() {
                return;
            }
        }
    });
    Ok((reading, seen))
}
