//! Work taken from a queue.

use std::sync::Arc;

use futures::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::amqp::link::{Ended, Interrupted, Link, Session, supervise};
use crate::amqp::{properties, settle};
use crate::{Acker, Incoming, Queue};

/// Hands messages of `queue` to `messages` until nobody reads them or the link closes.
pub(super) async fn run(
    link: Arc<Link>,
    queue: Queue,
    prefetch: u16,
    messages: mpsc::Sender<Incoming>,
) {
    let closing = link.closing.clone();
    supervise(link, format!("the consumer of {queue}"), |session| {
        consume(session, queue, prefetch, messages.clone(), closing.clone())
    })
    .await;
}

async fn consume(
    session: Session,
    queue: Queue,
    prefetch: u16,
    messages: mpsc::Sender<Incoming>,
    closing: CancellationToken,
) -> Ended {
    let channel = session.channel.clone();
    let (settle, settled) = mpsc::unbounded_channel();
    let settling = tokio::spawn(settle::run(channel.clone(), settled));
    let consuming = async {
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let tag = format!("studio-webhooks-{}", uuid::Uuid::now_v7().simple());
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let name = queue.to_string().into();
        let mut deliveries =
            channel.basic_consume(name, tag.as_str().into(), options, arguments).await?;
        session.attached();
        loop {
            let delivery = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = messages.closed() => break,
                delivery = deliveries.next() => delivery.ok_or(Interrupted::Cancelled)??,
            };
            let acker = Acker { tag: delivery.delivery_tag, settle: Some(settle.clone()) };
            if messages.send(properties::incoming(delivery, acker)).await.is_err() {
                break;
            }
        }
        // No more come; what is under way can still be settled.
        drop(channel.basic_cancel(tag.as_str().into(), BasicCancelOptions::default()).await);
        Ok::<_, Interrupted>(())
    };
    let result = consuming.await;
    drop(settle);
    match result {
        Err(error) => Ended::Interrupted(error),
        Ok(()) => {
            // Until the last acker is gone, or, at a close, until what is settled is sent.
            tokio::select! {
                _ = settling => {}
                () = settled_at_close(&closing) => {}
            }
            session.leave().await;
            Ended::Done
        }
    }
}

/// A close comes after the work has ended: what is settled is on its way.
async fn settled_at_close(closing: &CancellationToken) {
    closing.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}
