//! What is said over a connection (`docs/gateway-protocol.md`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol, told in `connected`.
pub(crate) const VERSION: u32 = 1;

/// Why a connection is closed. Codes 4000 to 4499 mean "come back", 4500 to 4999 "don't".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Goodbye {
    pub(crate) const GOING_AWAY: Self = Self::new(1001, "the server restarts");
    pub(crate) const PROTOCOL: Self = Self::new(1002, "the frames break the WebSocket protocol");
    pub(crate) const NOT_UTF8: Self = Self::new(1007, "the message is not UTF-8");
    pub(crate) const SERVER: Self = Self::new(4000, "the server failed");
    pub(crate) const TOKEN_EXPIRED: Self = Self::new(4001, "the access token has expired");
    pub(crate) const TOO_SLOW: Self = Self::new(4002, "events are not read fast enough");
    pub(crate) const SILENT: Self = Self::new(4003, "nothing was heard from the client");
    pub(crate) const BAD_TOKEN: Self =
        Self::new(4500, "the access token is not valid for this connection");
    pub(crate) const TOO_LARGE: Self = Self::new(4501, "the message is too large");
    pub(crate) const BINARY: Self = Self::new(4501, "only text messages are understood");
    pub(crate) const TOO_MANY_CONNECTIONS: Self = Self::new(4502, "too many connections");
    pub(crate) const SIGNED_OUT: Self = Self::new(4503, "signed out");
    pub(crate) const TOO_MANY_MESSAGES: Self = Self::new(4505, "too many messages");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe { projects: Vec<String>, events: Option<Vec<String>>, since: Option<String> },
    Unsubscribe { project: String },
    Ping,
    Auth { token: String },
}

/// A message that asks for nothing we know: what is wrong, and the id that it had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRequest {
    pub(crate) message: &'static str,
    pub(crate) id: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// What Studio's web client says instead of `type`.
    action: Option<String>,
    project_id: Option<String>,
    project_ids: Option<Vec<String>>,
    events: Option<Vec<String>>,
    since: Option<String>,
    token: Option<String>,
}

impl Request {
    /// Reads a message; the second is the id that its answer repeats.
    pub(crate) fn parse(text: &str) -> Result<(Self, Option<Value>), BadRequest> {
        let value: Value = serde_json::from_str(text)
            .map_err(|_| BadRequest { message: "the message is no JSON", id: None })?;
        let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned();
        let bad = |message| BadRequest { message, id: id.clone() };
        let message: Message = serde_json::from_value(value).map_err(|_| {
            bad("expected an object whose fields are texts, `events` and `project_ids` lists of texts")
        })?;
        let kind = message.kind.or(message.action).ok_or_else(|| bad("`type` is missing"))?;
        let missing = || bad("`project_id` is missing");
        let request = match kind.as_str() {
            "subscribe" => Self::Subscribe {
                projects: match (message.project_id, message.project_ids) {
                    (Some(one), None) => vec![one],
                    (None, Some(several)) if !several.is_empty() => several,
                    (None, _) => return Err(missing()),
                    (Some(_), Some(_)) => {
                        return Err(bad("either `project_id` or `project_ids`, not both"));
                    }
                },
                events: message.events,
                since: message.since,
            },
            "unsubscribe" => Self::Unsubscribe { project: message.project_id.ok_or_else(missing)? },
            "ping" => Self::Ping,
            "auth" => Self::Auth { token: message.token.ok_or_else(|| bad("`token` is missing"))? },
            _ => return Err(bad("`type` must be subscribe, unsubscribe, ping or auth")),
        };
        Ok((request, id))
    }
}

/// What a client is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Answer<'a> {
    Connected {
        connection_id: String,
        protocol: u32,
        ping_interval_ms: u64,
        token_expires_at: String,
        limits: Limits,
    },
    Subscribed {
        project_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        replayed: Option<usize>,
        /// The user's newest event before what is live: where to resume from for one who has
        /// seen none yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_event_id: Option<&'a str>,
    },
    Unsubscribed {
        project_id: &'a str,
    },
    Pong,
    Authenticated {
        token_expires_at: String,
    },
    TokenExpiring {
        token_expires_at: String,
    },
    Reconnect {
        after_ms: u64,
    },
    Error {
        code: &'static str,
        message: &'a str,
    },
    /// Only in the stream of Server-Sent Events, which has no close frame.
    Close {
        code: u16,
        reason: &'a str,
    },
}

/// The limits that `connected` tells.
#[derive(Debug, Serialize)]
pub(crate) struct Limits {
    pub(crate) message_bytes: usize,
    pub(crate) messages_per_second: u32,
    pub(crate) subscriptions: usize,
}

impl Answer<'_> {
    /// Its `type`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Pong => "pong",
            Self::Authenticated { .. } => "authenticated",
            Self::TokenExpiring { .. } => "token_expiring",
            Self::Reconnect { .. } => "reconnect",
            Self::Error { .. } => "error",
            Self::Close { .. } => "close",
        }
    }

    /// Its JSON, with the id of what it answers, where that had one.
    pub(crate) fn json(&self, id: Option<&Value>) -> String {
        #[derive(Serialize)]
        struct Said<'a> {
            #[serde(flatten)]
            answer: &'a Answer<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a Value>,
        }
        serde_json::to_string(&Said { answer: self, id })
            .expect("texts and numbers always have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn every_close_code_and_message_is_documented() {
        let pages = [
            include_str!("../../../docs/gateway-protocol.md"),
            include_str!("../../../docs/asyncapi-gateway.yaml"),
        ];
        let goodbyes = [
            Goodbye::GOING_AWAY,
            Goodbye::PROTOCOL,
            Goodbye::NOT_UTF8,
            Goodbye::SERVER,
            Goodbye::TOKEN_EXPIRED,
            Goodbye::TOO_SLOW,
            Goodbye::SILENT,
            Goodbye::BAD_TOKEN,
            Goodbye::TOO_LARGE,
            Goodbye::TOO_MANY_CONNECTIONS,
            Goodbye::SIGNED_OUT,
            Goodbye::TOO_MANY_MESSAGES,
        ];
        for page in pages {
            for goodbye in goodbyes {
                assert!(page.contains(&goodbye.code.to_string()), "{goodbye:?}");
            }
            for name in ["connected", "subscribed", "authenticated", "token_expiring", "reconnect"]
            {
                assert!(page.contains(name), "{name}");
            }
        }
    }

    #[test]
    fn type_and_action_mean_the_same() {
        let expected = Request::Subscribe { projects: vec!["p".into()], events: None, since: None };
        for text in [
            r#"{"type":"subscribe","project_id":"p"}"#,
            r#"{"type":"subscribe","project_ids":["p"]}"#,
            r#"{"action":"subscribe","project_id":"p","more":{"is":"ignored"}}"#,
        ] {
            assert_eq!(Request::parse(text).unwrap().0, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_messages_id() {
        let bad = Request::parse(r#"{"type":"dance","id":7}"#).unwrap_err();
        assert_eq!(bad.id, Some(json!(7)));
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"auth"}"#,
            r#"{"type":"subscribe","project_ids":[]}"#,
            r#"{"type":"subscribe","project_ids":["p"],"project_id":"p"}"#,
            r#"{"type":"subscribe","project_id":"p","events":"scrape.failed"}"#,
        ] {
            assert!(Request::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_repeats_the_id_and_its_name_is_its_type() {
        let answers = [
            Answer::Pong,
            Answer::Subscribed {
                project_id: "*",
                recovered: Some(true),
                replayed: Some(3),
                last_event_id: None,
            },
            Answer::Error { code: "BAD_MESSAGE", message: "m" },
            Answer::TokenExpiring { token_expires_at: "t".into() },
        ];
        for answer in answers {
            let id = json!("a");
            let said: Value = serde_json::from_str(&answer.json(Some(&id))).unwrap();
            assert_eq!((&said["type"], &said["id"]), (&json!(answer.name()), &id));
        }
        assert_eq!(Answer::Pong.json(None), r#"{"type":"pong"}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            drop(Request::parse(&text));
        }

        #[test]
        fn any_object_is_read_or_refused(
            kind in "subscribe|unsubscribe|ping|auth|.{0,8}",
            field in "type|action|project_id|since|token|events|id",
            value in "null|true|1e9|\"x\"|\\[\"a\"\\]|\\{\"a\":\\[\\]\\}",
        ) {
            let kind = serde_json::to_string(&kind).unwrap();
            drop(Request::parse(&format!(r#"{{"action":{kind},"{field}":{value}}}"#)));
        }
    }
}
