//! Work taken from a queue.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::amqp::link::{Ended, Interrupted, Link, Session, supervise};
use crate::amqp::{properties, settle};
use crate::message::Settled;
use crate::{Acker, Incoming, Queue};

/// Begins to hand messages of `queue` to `messages`, until nobody reads them or the link closes;
/// `ended` is cancelled then.
pub(super) fn start(
    link: Arc<Link>,
    queue: Queue,
    prefetch: u16,
    messages: mpsc::Sender<Incoming>,
    ended: CancellationToken,
) {
    let closing = link.closing.clone();
    // Also when the link closes while it is away.
    let guard = ended.clone().drop_guard();
    supervise(link, format!("the consumer of {queue}"), move |session| {
        let _until_the_end = &guard;
        consume(session, queue, prefetch, messages.clone(), closing.clone(), ended.clone())
    });
}

/// A consumer on a channel of its own.
struct Attached {
    deliveries: lapin::Consumer,
    settle: mpsc::UnboundedSender<Settled>,
}

async fn consume(
    session: Session,
    queue: Queue,
    prefetch: u16,
    messages: mpsc::Sender<Incoming>,
    closing: CancellationToken,
    ended: CancellationToken,
) -> Ended {
    let channel = session.channel.clone();
    let (settle, settled) = mpsc::unbounded_channel();
    // Goes on after an interruption that leaves the channel alive, until the last message of
    // this channel is settled.
    let settling = tokio::spawn(settle::run(channel.clone(), settled, closing.clone()));
    let tag = ShortString::from(format!("studio-webhooks-{}", uuid::Uuid::now_v7().simple()));
    let attaching = async {
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        channel.basic_consume(queue.to_string().into(), tag.clone(), options, arguments).await
    };
    let mut attached = match attaching.await {
        Ok(deliveries) => Attached { deliveries, settle },
        Err(error) => return Interrupted::from(error).into(),
    };
    session.attached();
    if let Err(interrupted) = attached.pass_on(&messages, &closing).await {
        return interrupted.into();
    }
    drop(messages);
    channel.basic_cancel(tag, BasicCancelOptions::default()).await.ok();
    ended.cancel();
    attached.hand_back_the_rest().await;
    // Until the last acker is gone or the link closes.
    settling.await.ok();
    session.leave().await;
    Ended::Done
}

impl Attached {
    async fn pass_on(
        &mut self,
        messages: &mpsc::Sender<Incoming>,
        closing: &CancellationToken,
    ) -> Result<(), Interrupted> {
        let mut closing = pin!(closing.cancelled());
        let mut unread = pin!(messages.closed());
        loop {
            let delivery = tokio::select! {
                biased;
                () = &mut closing => return Ok(()),
                delivery = self.deliveries.next() => delivery.ok_or(Interrupted::Cancelled)??,
                () = &mut unread => return Ok(()),
            };
            let acker = Acker { tag: delivery.delivery_tag, settle: Some(self.settle.clone()) };
            // There is room for a whole prefetch; unread, it goes back by its acker.
            if messages.send(properties::incoming(delivery, acker)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// What the broker had sent ahead must not wait for the last message under way.
    async fn hand_back_the_rest(mut self) {
        while let Some(Ok(delivery)) = self.deliveries.next().await {
            self.settle.send(Settled::HandedBack(delivery.delivery_tag)).ok();
        }
    }
}
