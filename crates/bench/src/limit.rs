//! The limit: what this machine can do when nothing is kept. A bare loop that consumes from a
//! quorum queue, signs, POSTs with hyper and acknowledges; and one that signs and POSTs from
//! memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use sha2::Sha256;
use tokio::sync::Semaphore;

/// The queue that the loop consumes.
const QUEUE: &str = "limit.dispatch";

/// Messages not acknowledged, and requests under way, at most.
const UNDER_WAY: u16 = 512;

type Sender = Client<HttpConnector, Full<Bytes>>;

fn sender() -> Sender {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector)
}

/// Declares what the loop needs: the exchange that publishers know, and one quorum queue.
///
/// # Errors
/// When the broker refuses.
pub async fn declare(url: &str) -> anyhow::Result<()> {
    let connection = crate::servers::connect(url).await?;
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    channel.exchange_declare("studio.events".into(), ExchangeKind::Topic, durable, none()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments).await?;
    let binding = QueueBindOptions::default();
    channel.queue_bind(QUEUE.into(), "studio.events".into(), "#".into(), binding, none()).await?;
    connection.close(200, "OK".into()).await?;
    Ok(())
}

/// Consumes, signs and POSTs to `target` as many `copies` of each message, each signed by itself,
/// acknowledges, for ever.
///
/// # Errors
/// When the connection breaks.
pub async fn consume_sign_post_acknowledge(
    url: &str,
    target: &str,
    copies: u16,
) -> anyhow::Result<()> {
    let connection = crate::servers::connect(url).await?;
    let channel = connection.create_channel().await?;
    let prefetch = (UNDER_WAY / copies.max(1)).max(4);
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut messages =
        channel.basic_consume(QUEUE.into(), "limit".into(), options, arguments).await?;
    let (client, target): (Sender, hyper::Uri) = (sender(), target.parse()?);
    let (done, finished) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(acknowledge(channel.clone(), finished));
    while let Some(message) = messages.next().await {
        let message = message?;
        let (client, target, done) = (client.clone(), target.clone(), done.clone());
        tokio::spawn(async move {
            let body = Bytes::from(message.data);
            let all = (0..copies).map(|_| post(&client, target.clone(), body.clone()));
            if futures::future::try_join_all(all).await.is_ok() {
                done.send(message.delivery_tag).ok();
            }
        });
    }
    Ok(())
}

/// One frame for each run of finished messages.
async fn acknowledge(channel: Channel, mut finished: tokio::sync::mpsc::UnboundedReceiver<u64>) {
    let mut next = 1;
    let mut beyond = std::collections::BTreeSet::new();
    let mut batch = Vec::new();
    while finished.recv_many(&mut batch, 1_024).await > 0 {
        beyond.extend(batch.drain(..));
        let before = next;
        while beyond.remove(&next) {
            next += 1;
        }
        if next > before {
            let options = BasicAckOptions { multiple: true };
            channel.basic_ack(next - 1, options).await.ok();
        }
    }
}

async fn post(client: &Sender, target: hyper::Uri, body: Bytes) -> anyhow::Result<()> {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"a secret").expect("a key of any length");
    mac.update(&body);
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let request = Request::post(target)
        .header("content-type", "application/json")
        .header("x-sentimatrix-signature", signature)
        .body(Full::new(body))?;
    let answer = client.request(request).await?;
    answer.into_body().collect().await?;
    Ok(())
}

/// Signs and POSTs `count` events from memory, 64 requests at a time.
///
/// # Errors
/// When a request fails.
pub async fn sign_and_post_from_memory(target: &str, count: usize) -> anyhow::Result<()> {
    let (client, target): (Sender, hyper::Uri) = (sender(), target.parse()?);
    let (under_way, failed) = (Arc::new(Semaphore::new(64)), Arc::new(AtomicU64::new(0)));
    for number in 0..count {
        let permit = under_way.clone().acquire_owned().await?;
        let (client, target, failed) = (client.clone(), target.clone(), failed.clone());
        tokio::spawn(async move {
            if post(&client, target, crate::load::event(number).into()).await.is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            drop(permit);
        });
    }
    drop(under_way.acquire_many(64).await?);
    anyhow::ensure!(failed.load(Ordering::Relaxed) == 0, "requests failed");
    Ok(())
}
