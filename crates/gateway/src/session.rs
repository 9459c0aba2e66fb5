//! One connection, on the thread of its worker: what it subscribed to, what waits for it, and
//! when it must be looked after.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use access::{Access, SignOuts};
use bytes::Bytes;
use domain::UserId;
use rand::RngExt;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::allowance::{Allowance, Verdict};
use crate::config::GatewayConfig;
use crate::entry::{self, Entry, Form};
use crate::frame;
use crate::outbox::{Outbox, Pushed};
use crate::presence::Pass;
use crate::protocol::{Answer, Goodbye, Limits, VERSION};
use crate::subscriptions::Subscriptions;

/// How long before the token's end the client is told.
const NOTICE: time::Duration = time::Duration::seconds(60);

/// A connection.
pub(crate) struct Session {
    /// Unique within the worker.
    pub(crate) id: u64,
    pub(crate) user: UserId,
    pub(crate) form: Form,
    /// Where it comes from: an address, or the /64 of an IPv6 one.
    pub(crate) address: IpAddr,
    pub(crate) subscriptions: RefCell<Subscriptions>,
    token: RefCell<Token>,
    outbox: RefCell<Outbox>,
    allowance: RefCell<Allowance>,
    heard_at: Cell<Instant>,
    ping_at: Cell<Instant>,
    closed: Cell<Option<Goodbye>>,
    _pass: Pass,
}

struct Token {
    id: Option<String>,
    issued_at: Option<OffsetDateTime>,
    expires_at: OffsetDateTime,
    /// When the client is told that it expires soon; `None` once it was.
    notice_at: Option<OffsetDateTime>,
}

impl Token {
    fn of(access: &Access) -> Self {
        let left: time::Duration = access.expires_at - OffsetDateTime::now_utc();
        Self {
            id: access.token_id.clone(),
            issued_at: access.issued_at,
            expires_at: access.expires_at,
            // Half of a short life is left, so that each is renewed once.
            notice_at: Some(access.expires_at - (left / 2_i32).min(NOTICE)),
        }
    }
}

/// What looking after a connection found.
pub(crate) enum Care {
    /// All is well until then.
    Until(Instant),
    Close(Goodbye),
}

impl Session {
    pub(crate) fn new(
        id: u64,
        access: &Access,
        (form, address): (Form, IpAddr),
        waiting: Rc<Cell<usize>>,
        pass: Pass,
        config: &GatewayConfig,
    ) -> Self {
        let now = Instant::now();
        // At a random time, so that connections that came together are not pinged together.
        let phase = rand::rng().random_range(Duration::ZERO..=config.ping_every);
        Self {
            id,
            user: access.user.clone(),
            form,
            address,
            subscriptions: RefCell::default(),
            token: RefCell::new(Token::of(access)),
            outbox: RefCell::new(Outbox::new(waiting, now)),
            allowance: RefCell::new(Allowance::new(config.messages_per_second, now)),
            heard_at: Cell::new(now),
            ping_at: Cell::new(now + phase),
            closed: Cell::new(None),
            _pass: pass,
        }
    }

    /// Tells the client that it is let in, and by which rules.
    pub(crate) fn welcome(&self, config: &GatewayConfig) {
        let answer = Answer::Connected {
            connection_id: format!("conn_{}", uuid::Uuid::now_v7().simple()),
            protocol: VERSION,
            ping_interval_ms: u64::try_from(config.ping_every.as_millis()).unwrap_or(u64::MAX),
            token_expires_at: written(self.token.borrow().expires_at),
            limits: Limits {
                message_bytes: config.message_bytes,
                messages_per_second: config.messages_per_second,
                subscriptions: config.subscriptions,
            },
        };
        self.say(&answer, None, config);
    }

    /// Whether the client may say one more thing.
    pub(crate) fn hear(&self, config: &GatewayConfig) -> Verdict {
        let now = Instant::now();
        self.heard_at.set(now);
        self.allowance.borrow_mut().take(config.messages_per_second, now)
    }

    /// Answers the client. One that does not read its answers is noticed at the next event.
    pub(crate) fn say(&self, answer: &Answer<'_>, id: Option<&Value>, config: &GatewayConfig) {
        let bytes = entry::message(self.form, answer.name(), &answer.json(id));
        if self.push(bytes, config) == Pushed::TooSlow {
            self.close(Goodbye::TOO_SLOW);
        }
    }

    /// Queues an event.
    pub(crate) fn tell(&self, entry: &Entry, config: &GatewayConfig) -> Pushed {
        self.push(entry.bytes(self.form), config)
    }

    /// Queues bytes that are whole frames.
    pub(crate) fn push(&self, bytes: Bytes, config: &GatewayConfig) -> Pushed {
        self.outbox.borrow_mut().push(bytes, config.patience(), Instant::now())
    }

    /// Bytes that wait for the client.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    /// Whether nobody has closed it yet.
    pub(crate) fn is_open(&self) -> bool {
        self.outbox.borrow().is_open()
    }

    /// Why we closed it.
    pub(crate) fn closed(&self) -> Option<Goodbye> {
        self.closed.get()
    }

    /// Closes the connection. What waits is sent before, but not to a client that is too slow:
    /// it gets everything when it comes back.
    pub(crate) fn close(&self, goodbye: Goodbye) {
        if !self.is_open() {
            return;
        }
        self.closed.set(Some(goodbye));
        let mut outbox = self.outbox.borrow_mut();
        if goodbye == Goodbye::TOO_SLOW {
            outbox.clear();
        }
        outbox.leave(match self.form {
            Form::Socket => frame::close(goodbye.code, goodbye.reason),
            Form::Stream => {
                let answer = Answer::Close { code: goodbye.code, reason: goodbye.reason };
                entry::message(self.form, answer.name(), &answer.json(None))
            }
        });
    }

    /// Answers the client's close.
    pub(crate) fn part(&self, code: Option<u16>) {
        self.outbox.borrow_mut().leave(frame::close_echo(code));
    }

    /// Ends it without another word: the client is gone.
    pub(crate) fn end(&self) {
        self.outbox.borrow_mut().end();
    }

    /// The next piece to write.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.outbox.borrow_mut().poll(cx)
    }

    /// Whether its token was signed out.
    pub(crate) fn is_signed_out(&self, sign_outs: &SignOuts) -> bool {
        let token = self.token.borrow();
        sign_outs.refuse(&self.user, token.issued_at, token.id.as_deref())
    }

    /// Goes on with another token of the same user.
    pub(crate) fn renew(&self, access: &Access) -> String {
        *self.token.borrow_mut() = Token::of(access);
        written(access.expires_at)
    }

    /// Sends what is due, and says when to look again.
    pub(crate) fn care(&self, now: Instant, config: &GatewayConfig) -> Care {
        let listens = self.form == Form::Socket;
        let silent_at = self.heard_at.get() + config.silent_after;
        if listens && now >= silent_at {
            return Care::Close(Goodbye::SILENT);
        }
        let Some(token_at) = self.care_for_token(now, config) else {
            return Care::Close(Goodbye::TOKEN_EXPIRED);
        };
        if now >= self.ping_at.get() {
            if self.push(entry::ping(self.form), config) == Pushed::TooSlow {
                return Care::Close(Goodbye::TOO_SLOW);
            }
            self.ping_at.set(now + config.ping_every);
        }
        let next = self.ping_at.get().min(token_at);
        Care::Until(if listens { next.min(silent_at) } else { next })
    }

    /// When the token must be looked at again; `None` when it has expired.
    fn care_for_token(&self, now: Instant, config: &GatewayConfig) -> Option<Instant> {
        let mut token = self.token.borrow_mut();
        let wall = OffsetDateTime::now_utc();
        // A token may live longer than the clock can count.
        let until = |at: OffsetDateTime| {
            let left = Duration::try_from(at - wall).unwrap_or_default();
            now + left.min(Duration::from_secs(86_400))
        };
        if token.expires_at <= wall {
            return None;
        }
        match token.notice_at {
            Some(at) if at > wall => return Some(until(at)),
            Some(_) => {
                token.notice_at = None;
                let token_expires_at = written(token.expires_at);
                self.say(&Answer::TokenExpiring { token_expires_at }, None, config);
            }
            None => {}
        }
        Some(until(token.expires_at))
    }
}

/// A time as the protocol writes it (RFC 3339).
pub(crate) fn written(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
