//! What a client says, and what comes of it.

use std::rc::Rc;
use std::sync::Arc;

use domain::{EventId, EventSet};
use serde_json::Value;
use time::OffsetDateTime;

use access::Denied;

use crate::allowance::Verdict;
use crate::entry::Entry;
use crate::frame;
use crate::incoming::Heard;
use crate::protocol::{Answer, Goodbye, Request};
use crate::resume::{self, Return};
use crate::session::Session;
use crate::subscriptions::Topic;
use crate::worker::Worker;

/// A request that is refused: a code and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

const BAD_PROJECT: Refused =
    Refused { code: "BAD_PROJECT", message: "`project_id` must be a project's id or \"*\"" };
const BAD_EVENTS: Refused = Refused {
    code: "BAD_EVENTS",
    message: "`events` must name event types, such as scrape.completed or scrape.*",
};
const TOO_MANY: Refused = Refused {
    code: "TOO_MANY_SUBSCRIPTIONS",
    message: "unsubscribe from a project first, or use \"*\"",
};

/// The code of what is refused now and may be asked for again a little later.
pub(crate) const RATE_LIMITED: &str = "RATE_LIMITED";

const TOO_OFTEN: Refused = Refused {
    code: RATE_LIMITED,
    message: "this user resumes too often; wait a second before the next `since`",
};

/// A subscription to make.
pub(crate) struct Wish<'a> {
    /// Projects, or `*`.
    pub(crate) projects: &'a [String],
    /// Only these types; all of them when `None`.
    pub(crate) events: Option<&'a [String]>,
    /// The last event that was seen.
    pub(crate) since: Option<&'a str>,
}

impl Wish<'_> {
    fn topics(&self) -> Result<Vec<Topic>, Refused> {
        self.projects.iter().map(|project| Topic::parse(project).ok_or(BAD_PROJECT)).collect()
    }

    fn events(&self) -> Result<EventSet, Refused> {
        match self.events {
            None => EventSet::parse(["*"]),
            Some(names) => EventSet::parse(names.iter().map(String::as_str)),
        }
        .map_err(|_| BAD_EVENTS)
    }
}

impl Worker {
    /// Hears a frame. Every one counts, whatever it is: an empty one costs as much as any.
    pub(crate) fn hear(&self, session: &Rc<Session>, heard: Heard) {
        if let Heard::Close(code) = heard {
            return session.part(code);
        }
        match session.hear(&self.config) {
            Verdict::Enough => session.close(Goodbye::TOO_MANY_MESSAGES),
            Verdict::Refused => {
                let message = "too many messages; slow down";
                let answer = Answer::Error { code: RATE_LIMITED, message };
                session.say(&answer, None, &self.config);
            }
            Verdict::Heard => match heard {
                Heard::Text(text) => self.answer(session, &text),
                Heard::Ping(payload) => {
                    // One who does not read is noticed at the next event.
                    session.push(frame::pong(&payload), &self.config);
                }
                Heard::Part | Heard::Pong | Heard::Close(_) => {}
            },
        }
    }

    fn answer(&self, session: &Rc<Session>, text: &str) {
        match Request::parse(text) {
            Ok((request, id)) => self.obey_client(session, &request, id.as_ref()),
            Err(bad) => {
                let answer = Answer::Error { code: "BAD_MESSAGE", message: bad.message };
                session.say(&answer, bad.id.as_ref(), &self.config);
            }
        }
    }

    fn obey_client(&self, session: &Rc<Session>, request: &Request, id: Option<&Value>) {
        match request {
            Request::Ping => session.say(&Answer::Pong, id, &self.config),
            Request::Auth { token } => self.renew(session, token, id),
            Request::Unsubscribe { project } => {
                if let Some(topic) = Topic::parse(project) {
                    let had = session.subscriptions.borrow_mut().remove(&topic);
                    if had {
                        self.index.borrow_mut().unsubscribe(session, &topic);
                    }
                }
                session.say(&Answer::Unsubscribed { project_id: project }, id, &self.config);
            }
            Request::Subscribe { projects, events, since } => {
                let wish = Wish { projects, events: events.as_deref(), since: since.as_deref() };
                if let Err(refused) = self.subscribe(session, &wish, id) {
                    let answer = Answer::Error { code: refused.code, message: refused.message };
                    session.say(&answer, id, &self.config);
                }
            }
        }
    }

    /// Subscribes, and sends again what was missed, in the order of the history.
    pub(crate) fn subscribe(
        &self,
        session: &Rc<Session>,
        wish: &Wish<'_>,
        id: Option<&Value>,
    ) -> Result<(), Refused> {
        let topics = wish.topics()?;
        let events = wish.events()?;
        self.check_room(session, &topics)?;
        if wish.since.is_some() && !self.hub.returns.take(&session.user, &self.config) {
            self.hub.metrics.resume_refused();
            return Err(TOO_OFTEN);
        }
        let (missed, last) = self.register(session, &topics, events, wish.since);
        let recovered = wish.since.map(|_| missed.is_some());
        let missed = missed.unwrap_or_default();
        if let Some(recovered) = recovered {
            self.hub.metrics.resumed(recovered);
        }
        for topic in &topics {
            let replayed = recovered.map(|_| missed.len());
            let answer = Answer::Subscribed {
                project_id: topic.as_str(),
                recovered,
                replayed,
                last_event_id: last.as_ref().map(EventId::as_str),
            };
            session.say(&answer, id, &self.config);
        }
        for entry in missed {
            session.tell(&entry, &self.config);
        }
        Ok(())
    }

    fn check_room(&self, session: &Session, topics: &[Topic]) -> Result<(), Refused> {
        let subscriptions = session.subscriptions.borrow();
        let new = topics
            .iter()
            .enumerate()
            .filter(|(at, topic)| !subscriptions.has(topic) && !topics[..*at].contains(topic))
            .count();
        if subscriptions.len() + new > self.config.subscriptions { Err(TOO_MANY) } else { Ok(()) }
    }

    /// Has `session` told of these topics from now on. What it missed `since`, if that is known,
    /// and the newest event of its user.
    fn register(
        &self,
        session: &Rc<Session>,
        topics: &[Topic],
        events: EventSet,
        since: Option<&str>,
    ) -> (Option<Vec<Arc<Entry>>>, Option<EventId>) {
        // An id of the wrong form is as unknown as any.
        let since: Option<EventId> = since.and_then(|since| since.parse().ok());
        let mut subscriptions = session.subscriptions.borrow_mut();
        let (past, top, last) = self.hub.past(&session.user, since.is_some());
        // Others use the ring meanwhile: what comes after `top` is told as any event is.
        let missed = since.as_ref().zip(past).and_then(|(since, past)| {
            let back = Return { before: &subscriptions, topics, events, since };
            resume::missed(&past, &back, self.handled(), self.config.room(session.waiting()))
        });
        for topic in topics {
            if !subscriptions.has(topic) {
                self.index.borrow_mut().subscribe(session, topic);
            }
            subscriptions.add(topic, events, top);
        }
        if missed.is_some() {
            subscriptions.advance(top);
        }
        (missed, last)
    }

    fn renew(&self, session: &Rc<Session>, token: &str, id: Option<&Value>) {
        match self.verifier.admit_at_once(token, session.address, OffsetDateTime::now_utc()) {
            Ok(access) if access.user == session.user && access.roles.can_read() => {
                let token_expires_at = session.renew(&access);
                session.say(&Answer::Authenticated { token_expires_at }, id, &self.config);
            }
            Err(access::Refused::Token(denied)) => session.close(match denied {
                Denied::SignedOut(_) => Goodbye::SIGNED_OUT,
                Denied::Expired(_) => Goodbye::TOKEN_EXPIRED,
                Denied::NotYet => Goodbye::SERVER,
                Denied::Invalid => Goodbye::BAD_TOKEN,
            }),
            _ => session.close(Goodbye::BAD_TOKEN),
        }
    }
}
