//! Who was signed out: their connections are closed, and the tokens that they had open no others.
//!
//! The gateway has no store. It is told of each sign-out by `studio.control`, and asks there for
//! those that it was not told of: when it starts, whenever announcements may have been missed, and
//! every minute. Services with a store answer. Before the first answer is complete nobody is let
//! in ([`access::Denied::NotYet`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use access::{SignOut, SignOuts};
use broker::{ControlMessage, ControlSignal, SharedBroker, SignedOut};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::hub::Hub;

/// How long an answer is waited for before the question is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is asked although everything is known: what a service could keep, and not
/// announce, is learnt by this.
const EVERY: Duration = Duration::from_secs(60);

/// How far back such a question goes.
const RECENT: time::Duration = time::Duration::minutes(15);

/// How far ahead of ours the store's clock may be.
const AHEAD: time::Duration = time::Duration::seconds(30);

/// Answers of which some parts are missing, at most.
const OPEN: usize = 16;

/// Follows sign-outs until the broker is closed.
pub(crate) async fn follow(hub: Arc<Hub>, broker: SharedBroker, sign_outs: SignOuts) {
    let mut control = broker.control();
    let mut questions = Questions::default();
    loop {
        let signal = tokio::select! {
            signal = control.next() => signal,
            () = questions.due() => {
                sign_outs.forget_old(OffsetDateTime::now_utc());
                questions.ask(&broker);
                continue;
            }
        };
        match signal {
            None => return,
            Some(ControlSignal::Gap) => {
                questions = Questions::default();
                questions.ask(&broker);
            }
            Some(ControlSignal::Message(message)) => {
                // In one process with the API it is noted already, and its connections are open.
                let announced = matches!(message, ControlMessage::SignedOut { .. });
                for sign_out in told(&message).iter().filter_map(read) {
                    let is_new = sign_outs.note(&sign_out);
                    if is_new || announced || hub.presence.has(&sign_out.user) {
                        hub.sign_out(sign_out.user).await;
                    }
                }
                if let ControlMessage::SignOuts { everybody, .. } = &message
                    && let Some(at) = everybody.and_then(time_of)
                {
                    sign_outs.note_everybody(at);
                }
                if questions.hear(&message) {
                    if !sign_outs.is_known() {
                        tracing::info!("the gateway knows who was signed out");
                    }
                    sign_outs.set_known();
                }
            }
        }
    }
}

/// The sign-outs of a message.
fn told(message: &ControlMessage) -> Vec<SignedOut> {
    match message {
        ControlMessage::SignedOut { user_id, token_id, at } => {
            let now = || OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
            let at = at.unwrap_or_else(|| i64::try_from(now()).unwrap_or(i64::MAX));
            vec![SignedOut { user_id: user_id.clone(), token_id: token_id.clone(), at }]
        }
        ControlMessage::SignOuts { sign_outs, .. } => sign_outs.clone(),
        _ => Vec::new(),
    }
}

/// One that can be read: another version may name what this one cannot.
fn read(told: &SignedOut) -> Option<SignOut> {
    let (user, at) = (told.user_id.parse().ok()?, time_of(told.at)?);
    Some(SignOut { user, token_id: told.token_id.clone(), at })
}

/// A time, but none of a far future, before which no token would be good.
fn time_of(micros: i64) -> Option<OffsetDateTime> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()?;
    Some(at.min(OffsetDateTime::now_utc() + AHEAD))
}

/// What was asked, and how much of it is answered.
#[derive(Default)]
struct Questions {
    /// When it is asked next; never before announcements can be heard.
    next: Option<Instant>,
    /// The last question.
    question: String,
    /// Whether one was answered since announcements may have been missed.
    answered: bool,
    /// Parts that came, by answer.
    parts: HashMap<String, u32>,
}

impl Questions {
    async fn due(&self) {
        match self.next {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn ask(&mut self, broker: &SharedBroker) {
        self.next = Some(Instant::now() + PATIENCE);
        self.question = uuid::Uuid::now_v7().to_string();
        let since = OffsetDateTime::now_utc() - RECENT;
        let micros = i64::try_from(since.unix_timestamp_nanos() / 1_000).ok();
        let since = micros.filter(|_| self.answered);
        let message = ControlMessage::SignOutsWanted { question: self.question.clone(), since };
        let broker = broker.clone();
        // By itself: the answers of others are heard meanwhile.
        tokio::spawn(async move {
            if let Err(error) = broker.announce(&message).await {
                tracing::debug!("who was signed out could not be asked for: {error}");
            }
        });
    }

    /// Whether this makes an answer to our last question complete.
    fn hear(&mut self, message: &ControlMessage) -> bool {
        let ControlMessage::SignOuts { question, answer, parts, .. } = message else {
            return false;
        };
        if *question != self.question {
            return false;
        }
        if self.parts.len() >= OPEN {
            self.parts.clear();
        }
        let came = self.parts.entry(answer.clone()).or_default();
        *came += 1;
        if *came < *parts {
            // A long answer takes its time.
            self.next = Some(Instant::now() + PATIENCE);
            return false;
        }
        self.parts.clear();
        self.answered = true;
        self.next = Some(Instant::now() + EVERY);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(question: &str, answer: &str, part: u32) -> ControlMessage {
        ControlMessage::SignOuts {
            question: question.into(),
            answer: answer.into(),
            part,
            parts: 2,
            sign_outs: Vec::new(),
            everybody: None,
        }
    }

    #[test]
    fn an_answer_counts_once_all_of_its_parts_have_come() {
        let mut questions = Questions { question: "q".into(), ..Questions::default() };
        assert!(!questions.hear(&part("q", "a", 0)));
        assert!(!questions.hear(&part("q", "b", 1)), "another answer's");
        assert!(!questions.hear(&part("earlier", "a", 1)), "another question's");
        assert!(questions.hear(&part("q", "a", 1)) && questions.answered);
    }

    #[test]
    fn a_sign_out_of_a_far_future_counts_from_now() {
        let told = SignedOut { user_id: "ann".into(), token_id: None, at: i64::MAX / 2 };
        let read = read(&told);
        assert!(read.is_none_or(|read| read.at <= OffsetDateTime::now_utc() + AHEAD));
        let wrong = SignedOut { user_id: "two words".into(), token_id: None, at: 0 };
        assert_eq!(super::read(&wrong), None);
    }
}
