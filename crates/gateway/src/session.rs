//! One connection's life: what the client says, what it is sent, pings, and the token's end.

use std::sync::Arc;
use std::time::Duration;

use access::{Access, Verifier};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, Session};
use bytestring::ByteString;
use domain::UserId;
use futures::StreamExt;
use rand::RngExt;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::GatewayConfig;
use crate::hub::{Connection, Hub};
use crate::protocol::{self, Request, close};
use crate::subscriptions::Topic;

/// How long before the token's end the client is told.
const NOTICE: Duration = Duration::from_secs(60);

/// How long a write may make no progress.
const STALLED: Duration = Duration::from_secs(10);

/// Warnings about too many messages before the connection is closed.
const WARNINGS: u32 = 3;

pub(crate) struct Life {
    pub(crate) hub: Arc<Hub>,
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) verifier: Verifier,
    pub(crate) user: UserId,
    pub(crate) connection: Arc<Connection>,
    pub(crate) session: Session,
    pub(crate) expires_at: OffsetDateTime,
    allowance: Allowance,
    warned_of_expiry: bool,
}

/// Messages that a client may still send: a bucket that fills with time.
struct Allowance {
    left: f64,
    filled_at: Instant,
    per_second: f64,
    warnings: u32,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { left: per_second * 4.0, filled_at: Instant::now(), per_second, warnings: 0 }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let filled = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.left = (self.left + filled).min(self.per_second * 4.0);
        self.filled_at = now;
        if self.left < 1.0 {
            self.warnings += 1;
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// How a session ended.
enum End {
    /// The client left, or the connection broke.
    Left,
    /// We close it.
    Close(u16, &'static str),
}

impl Life {
    pub(crate) fn new(
        hub: Arc<Hub>,
        config: Arc<GatewayConfig>,
        verifier: Verifier,
        access: &Access,
        connection: Arc<Connection>,
        session: Session,
    ) -> Self {
        Self {
            hub,
            verifier,
            user: access.user.clone(),
            connection,
            session,
            expires_at: access.expires_at,
            allowance: Allowance::new(config.messages_per_second),
            warned_of_expiry: false,
            config,
        }
    }

    /// Lives until the client leaves or is closed, then leaves the hub.
    pub(crate) async fn run(
        mut self,
        mut incoming: actix_ws::AggregatedMessageStream,
        mut outgoing: mpsc::Receiver<ByteString>,
    ) {
        let end = self.exchange(&mut incoming, &mut outgoing).await;
        self.hub.leave(&self.user, &self.connection);
        if let End::Close(code, reason) = end {
            self.hub.metrics.closed(code);
            // What was queued before the goodbye, the hint when to come back among it.
            if code == close::GOING_AWAY {
                while let Ok(text) = outgoing.try_recv() {
                    drop(tokio::time::timeout(STALLED, self.session.text(text)).await);
                }
            }
            let reason =
                CloseReason { code: CloseCode::from(code), description: Some(reason.to_owned()) };
            let closing = self.session.close(Some(reason));
            drop(tokio::time::timeout(Duration::from_millis(500), closing).await);
        }
    }

    async fn exchange(
        &mut self,
        incoming: &mut actix_ws::AggregatedMessageStream,
        outgoing: &mut mpsc::Receiver<ByteString>,
    ) -> End {
        self.say(&self.welcome());
        let phase = rand::rng().random_range(Duration::ZERO..self.config.ping_every);
        let mut ping = tokio::time::interval_at(Instant::now() + phase, self.config.ping_every);
        let mut heard = Instant::now();
        let connection = self.connection.clone();
        loop {
            let end = tokio::select! {
                biased;
                () = connection.closed.notified() => self.asked_to_close(),
                message = incoming.next() => match message {
                    None => Some(End::Left),
                    Some(Err(_)) => Some(End::Close(close::BAD_MESSAGE, "bad message")),
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        self.hear(message).await
                    }
                },
                Some(next) = outgoing.recv() => self.send(next).await,
                _ = ping.tick() => {
                    if heard.elapsed() > self.config.silent_after {
                        Some(End::Close(close::SILENT, "silent"))
                    } else if self.session.ping(b"").await.is_err() {
                        Some(End::Left)
                    } else {
                        None
                    }
                }
                () = tokio::time::sleep(self.until_expiry()) => self.expire(),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn asked_to_close(&self) -> Option<End> {
        let asked =
            *self.connection.close_code.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        asked.map(|(code, reason)| End::Close(code, reason))
    }

    async fn send(&mut self, text: ByteString) -> Option<End> {
        let size = text.len();
        let sending = tokio::time::timeout(STALLED, self.session.text(text)).await;
        self.connection.sent(size);
        match sending {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(End::Left),
            Err(_) => Some(End::Close(close::TOO_SLOW, "too slow")),
        }
    }

    async fn hear(&mut self, message: AggregatedMessage) -> Option<End> {
        match message {
            AggregatedMessage::Close(_) => Some(End::Left),
            AggregatedMessage::Ping(bytes) => {
                self.session.pong(&bytes).await.err().map(|_| End::Left)
            }
            AggregatedMessage::Pong(_) => None,
            AggregatedMessage::Binary(_) => {
                Some(End::Close(close::BAD_MESSAGE, "only text messages are understood"))
            }
            AggregatedMessage::Text(text) => self.command(&text),
        }
    }

    fn command(&mut self, text: &str) -> Option<End> {
        if !self.allowance.take() {
            self.say(&protocol::error("RATE_LIMITED", "too many messages; slow down", None));
            return (self.allowance.warnings > WARNINGS)
                .then_some(End::Close(close::TOO_MANY_MESSAGES, "too many messages"));
        }
        match Request::parse(text) {
            Err(bad) => {
                self.say(&protocol::error("BAD_MESSAGE", &bad.message, bad.id));
                None
            }
            Ok((request, id)) => self.obey(request, id),
        }
    }

    fn obey(&mut self, request: Request, id: Option<Value>) -> Option<End> {
        let answer = match request {
            Request::Ping => json!({ "type": "pong" }),
            Request::Auth { token } => return self.renew(&token, id),
            Request::Unsubscribe { project } => {
                if let Some(topic) = Topic::parse(&project) {
                    self.connection.subscriptions().remove(&topic);
                }
                json!({ "type": "unsubscribed", "project_id": project })
            }
            Request::Subscribe { project, since } => match self.subscribe(&project) {
                Err(error) => {
                    self.say(&protocol::error(error.0, error.1, id));
                    return None;
                }
                Ok(topic) => {
                    let mut body = json!({ "type": "subscribed", "project_id": topic.as_str() });
                    if since.is_some() {
                        // Never a part: the client loads its state afresh.
                        body["recovered"] = false.into();
                        body["replayed"] = 0.into();
                    }
                    body
                }
            },
        };
        self.say(&protocol::answer(answer, id));
        None
    }

    fn subscribe(&self, project: &str) -> Result<Topic, (&'static str, &'static str)> {
        let topic = Topic::parse(project)
            .ok_or(("BAD_PROJECT", "`project_id` must be a project's id or \"*\""))?;
        let added = self.connection.subscriptions().add(topic.clone(), self.config.subscriptions);
        if added {
            Ok(topic)
        } else {
            Err(("TOO_MANY_SUBSCRIPTIONS", "unsubscribe from a project first, or use \"*\""))
        }
    }

    fn renew(&mut self, token: &str, id: Option<Value>) -> Option<End> {
        match self.verifier.verify(token, OffsetDateTime::now_utc()) {
            Ok(access) if access.user == self.user => {
                self.expires_at = access.expires_at;
                self.warned_of_expiry = false;
                self.say(&protocol::answer(
                    json!({ "type": "authenticated", "token_expires_at": written(self.expires_at) }),
                    id,
                ));
                None
            }
            _ => Some(End::Close(close::BAD_TOKEN, "the token is not valid for this connection")),
        }
    }

    fn until_expiry(&self) -> Duration {
        let left = self.expires_at - OffsetDateTime::now_utc();
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        if self.warned_of_expiry { left } else { left.saturating_sub(NOTICE) }
    }

    fn expire(&mut self) -> Option<End> {
        if std::mem::replace(&mut self.warned_of_expiry, true) {
            return Some(End::Close(close::TOKEN_EXPIRED, "the token has expired"));
        }
        let at = written(self.expires_at);
        self.say(&json!({ "type": "token_expiring", "token_expires_at": at }).to_string());
        None
    }

    fn welcome(&self) -> String {
        json!({
            "type": "connected",
            "connection_id": format!("conn_{}", uuid::Uuid::now_v7().simple()),
            "protocol": protocol::VERSION,
            "ping_interval_ms": u64::try_from(self.config.ping_every.as_millis()).unwrap_or(u64::MAX),
            "token_expires_at": written(self.expires_at),
            "limits": {
                "message_bytes": self.config.message_bytes,
                "messages_per_second": self.config.messages_per_second,
                "subscriptions": self.config.subscriptions,
            },
        })
        .to_string()
    }

    fn say(&self, text: &str) {
        self.connection.send(text.into());
    }
}

fn written(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
