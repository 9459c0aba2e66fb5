//! `studio.rejected`: what could not be read as an event, or was given up by the broker. Looking
//! takes messages and hands them back in their order; nothing is lost when it is cut short.

use std::time::Duration;

use anyhow::Context;
use broker::{Acker, Broker, Incoming, Outgoing, Queue, Target};
use domain::{DeliveryTask, Event, Rejection};
use serde::{Deserialize, Serialize};

/// Messages looked at in one go, at most: all of them may be held at once.
const MOST: u64 = 2_000;

/// How long the next message is waited for that the broker counted.
const NEXT: Duration = Duration::from_secs(3);

/// Headers that were added when the message was rejected.
const ADDED: [&str; 5] = [
    "studio-reason",
    "studio-reason-text",
    "studio-size",
    "studio-routing-key",
    "studio-rejected-at",
];

/// Which messages; everything that is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Which {
    /// These; all when empty.
    pub(crate) ids: Vec<String>,
    /// Rejected for this reason.
    pub(crate) reason: Option<String>,
    /// Whose body names this user.
    pub(crate) user: Option<String>,
}

/// A rejected message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RejectedMessage {
    /// Of its content: copies have the same.
    pub(crate) id: String,
    /// The code; none for what the broker gave up.
    pub(crate) reason: Option<String>,
    pub(crate) reason_text: Option<String>,
    /// When it was rejected, unix ms, where it is known.
    pub(crate) rejected_at_ms: Option<i64>,
    pub(crate) message_id: Option<String>,
    pub(crate) routing_key: Option<String>,
    pub(crate) content_type: String,
    /// Bytes of the body as it was published.
    pub(crate) size: u64,
    /// Why it would be rejected again; none when it can be requeued.
    pub(crate) unreadable: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    /// As text; empty unless it was asked for.
    pub(crate) body: String,
}

/// What came of a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Ids of what was done.
    pub(crate) done: Vec<String>,
    /// Ids of what stays, with the reason.
    pub(crate) left: Vec<(String, String)>,
    /// Whether there were more than are looked at in one go.
    pub(crate) more: bool,
}

/// Lists messages, the oldest first, at most `limit`; and whether there are more.
pub(crate) async fn list(
    broker: &dyn Broker,
    which: &Which,
    limit: usize,
    bodies: bool,
) -> anyhow::Result<(Vec<RejectedMessage>, bool)> {
    let (mut listed, mut more) = (Vec::new(), false);
    // One more than is listed, to see that there are more.
    let needed = if which.is_everything() { limit as u64 + 1 } else { MOST };
    let beyond = visit(broker, needed, async |message| {
        if which.names(&message) {
            more = listed.len() == limit;
            if !more {
                listed.push(describe(&message, bodies));
            }
        }
        Ok(if more { Verdict::Stop(message.acker) } else { Verdict::Keep(message.acker) })
    })
    .await?;
    Ok((listed, more || beyond))
}

/// Publishes messages again to where they belong, and only then takes them out.
pub(crate) async fn requeue(broker: &dyn Broker, which: &Which) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    outcome.more = visit(broker, MOST, async |message| {
        if !which.names(&message) {
            return Ok(Verdict::Keep(message.acker));
        }
        let id = id_of(&message);
        match destination(&message) {
            Err(rejection) => {
                outcome.left.push((id, rejection.to_string()));
                Ok(Verdict::Keep(message.acker))
            }
            Ok(target) => {
                let confirmed = broker.publish(target, again(&message)).await;
                confirmed.with_context(|| format!("{id} was not requeued and stays"))?;
                message.acker.ack();
                outcome.done.push(id);
                Ok(Verdict::Done)
            }
        }
    })
    .await?;
    Ok(outcome)
}

/// Takes messages out for good.
pub(crate) async fn forget(broker: &dyn Broker, which: &Which) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    outcome.more = visit(broker, MOST, async |message| {
        if !which.names(&message) {
            return Ok(Verdict::Keep(message.acker));
        }
        outcome.done.push(id_of(&message));
        message.acker.ack();
        Ok(Verdict::Done)
    })
    .await?;
    Ok(outcome)
}

/// What becomes of a message that was looked at.
enum Verdict {
    Done,
    Keep(Acker),
    Stop(Acker),
}

/// Shows each message that is there to `look`, `most` at most; gives back whether there were more.
/// All are taken, up to what one go may take: a part that goes back goes behind the rest. What is
/// kept goes back at the end, in its order.
async fn visit(
    broker: &dyn Broker,
    most: u64,
    mut look: impl AsyncFnMut(Incoming) -> anyhow::Result<Verdict>,
) -> anyhow::Result<bool> {
    let there = broker.inspect(Queue::Rejected).await?.messages;
    let count = there.min(MOST);
    if count == 0 {
        return Ok(false);
    }
    let mut consumer = broker.consume(Queue::Rejected, u16::try_from(count)?);
    let (mut kept, mut result) = (Vec::new(), Ok(()));
    let mut left = most;
    for _ in 0..count {
        // Another operator may hold the rest.
        let Ok(Some(message)) = tokio::time::timeout(NEXT, consumer.next()).await else {
            break;
        };
        if left == 0 {
            kept.push(message.acker);
            continue;
        }
        left -= 1;
        match look(message).await {
            Ok(Verdict::Done) => {}
            Ok(Verdict::Keep(acker)) => kept.push(acker),
            Ok(Verdict::Stop(acker)) => {
                kept.push(acker);
                left = 0;
            }
            Err(error) => {
                result = Err(error);
                left = 0;
            }
        }
    }
    let unread = tokio::time::timeout(NEXT, consumer.end()).await.unwrap_or_default();
    kept.extend(unread.into_iter().map(|message| message.acker));
    kept.into_iter().for_each(drop);
    result.map(|()| there > count.min(most))
}

impl Which {
    fn is_everything(&self) -> bool {
        self.ids.is_empty() && self.reason.is_none() && self.user.is_none()
    }

    fn names(&self, message: &Incoming) -> bool {
        let reason = self.reason.as_deref();
        (self.ids.is_empty() || self.ids.contains(&id_of(message)))
            && reason.is_none_or(|reason| message.header("studio-reason") == Some(reason))
            && self.user.as_ref().is_none_or(|user| owner(message).as_ref() == Some(user))
    }
}

/// Whose message it is, as far as its body tells.
fn owner(message: &Incoming) -> Option<String> {
    #[derive(Deserialize)]
    struct Owned {
        user_id: String,
    }
    if let Ok(event) = message.event() {
        return Some(event.user.to_string());
    }
    serde_json::from_slice(&message.body).ok().map(|owned: Owned| owned.user_id)
}

/// The first 12 digits of the message's fingerprint.
fn id_of(message: &Incoming) -> String {
    hex::encode(&message.fingerprint()[..6])
}

fn describe(message: &Incoming, body: bool) -> RejectedMessage {
    let header = |name: &str| message.header(name).map(str::to_owned);
    let number = |name: &str| message.header(name)?.parse::<i64>().ok();
    let size = number("studio-size").and_then(|size| u64::try_from(size).ok());
    RejectedMessage {
        id: id_of(message),
        reason: header("studio-reason"),
        reason_text: header("studio-reason-text"),
        rejected_at_ms: number("studio-rejected-at"),
        message_id: message.message_id.clone(),
        routing_key: header("studio-routing-key"),
        content_type: message.content_type.as_str().to_owned(),
        size: size.unwrap_or(message.body.len() as u64),
        unreadable: destination(message).err().map(|rejection| rejection.to_string()),
        headers: message.own_headers().cloned().collect(),
        body: if body {
            String::from_utf8_lossy(&message.body).into_owned()
        } else {
            String::new()
        },
    }
}

/// Where the message belongs, if it can be read now: another version may know its type.
fn destination(message: &Incoming) -> Result<Target, Rejection> {
    let event: Event = message.event()?;
    if message.header("studio-delivery").is_some() {
        let task = DeliveryTask::from_headers(event, |name| message.header(name));
        return match task {
            Ok(_) => Ok(Target::Queue(Queue::Deliver)),
            Err(error) => Err(Rejection::new("not_a_delivery", error.to_string())),
        };
    }
    match message.header("studio-routing-key") {
        Some(key) if key != event.kind.as_str() => Err(Rejection::new(
            "routing_key_mismatch",
            format!("the routing key {key:?} is not the type {}", event.kind),
        )),
        _ => match message.header("studio-reason") {
            // Given up, and in the history since it was published.
            None | Some(Rejection::ENDS_THE_PROCESS) => Ok(Target::Queue(Queue::Dispatch)),
            // Nobody has read it as an event yet: browsers are told too.
            Some(_) => Ok(Target::Events(event.kind)),
        },
    }
}

fn again(message: &Incoming) -> Outgoing {
    let kept = |header: &&(String, String)| !ADDED.contains(&header.0.as_str());
    Outgoing {
        content_type: message.content_type,
        message_id: message.message_id.clone(),
        headers: message.own_headers().filter(kept).cloned().collect(),
        ..Outgoing::json(message.body.clone())
    }
}
