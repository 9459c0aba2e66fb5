//! Announcements to every process.

use std::sync::Arc;

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use tokio::sync::mpsc;

use crate::ControlSignal;
use crate::amqp::declare::CONTROL;
use crate::amqp::link::{Ended, Interrupted, Link, Session, supervise};

/// Announcements on the way, at most: a slow reader must not fill the memory.
const PREFETCH: u16 = 256;

/// Announcements acknowledged together.
const ACK_EVERY: u64 = 64;

/// Begins to hand announcements to `signals`, until nobody reads them or the link closes.
pub(super) fn start(link: Arc<Link>, signals: mpsc::Sender<ControlSignal>) {
    let closing = link.closing.clone();
    supervise(link, "the reader of studio.control".into(), move |session| {
        let (signals, closing) = (signals.clone(), closing.clone());
        async move {
            let ended = tokio::select! {
                () = closing.cancelled() => Ended::Done,
                () = signals.closed() => Ended::Done,
                result = read(&session, &signals) => {
                    result.map_or_else(Ended::Interrupted, |()| Ended::Done)
                }
            };
            if matches!(ended, Ended::Done) {
                session.leave().await;
            }
            ended
        }
    });
}

async fn read(session: &Session, signals: &mpsc::Sender<ControlSignal>) -> Result<(), Interrupted> {
    let channel = &session.channel;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut deliveries = consume_own_queue(channel).await?;
    session.attached();
    // Whatever was announced before the binding was missed.
    if signals.send(ControlSignal::Gap).await.is_err() {
        return Ok(());
    }
    loop {
        let delivery = deliveries.next().await.ok_or(Interrupted::Cancelled)??;
        // Another version may announce what this one does not know.
        if let Ok(message) = serde_json::from_slice(&delivery.data)
            && signals.send(ControlSignal::Message(message)).await.is_err()
        {
            return Ok(());
        }
        if delivery.delivery_tag % ACK_EVERY == 0 {
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: true }).await?;
        }
    }
}

async fn consume_own_queue(channel: &lapin::Channel) -> lapin::Result<lapin::Consumer> {
    // Exclusive: it ends with the connection, and what it held is of no use to anybody else.
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel.queue_declare("".into(), own, FieldTable::default()).await?;
    let name = queue.name().clone();
    let binding = QueueBindOptions::default();
    channel
        .queue_bind(name.clone(), CONTROL.into(), "".into(), binding, FieldTable::default())
        .await?;
    let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(name, "".into(), options, FieldTable::default()).await
}
