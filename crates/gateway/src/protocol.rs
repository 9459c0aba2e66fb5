//! What is said over a socket (`docs/gateway-protocol.md`).

use serde::Deserialize;
use serde_json::{Value, json};

/// Close codes. 4000 to 4499 mean "come back", 4500 to 4999 "don't".
pub(crate) mod close {
    pub(crate) const TOKEN_EXPIRED: u16 = 4001;
    pub(crate) const TOO_SLOW: u16 = 4002;
    pub(crate) const SILENT: u16 = 4003;
    pub(crate) const BAD_TOKEN: u16 = 4500;
    pub(crate) const BAD_MESSAGE: u16 = 4501;
    pub(crate) const TOO_MANY_CONNECTIONS: u16 = 4502;
    pub(crate) const SIGNED_OUT: u16 = 4503;
    pub(crate) const TOO_MANY_MESSAGES: u16 = 4505;
    pub(crate) const GOING_AWAY: u16 = 1001;
}

/// The version of the protocol, told in `connected`.
pub(crate) const VERSION: u32 = 1;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe { project: String, since: Option<String> },
    Unsubscribe { project: String },
    Ping,
    Auth { token: String },
}

/// A message that asks for nothing we know: what is wrong, and the id that it had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRequest {
    pub(crate) message: String,
    pub(crate) id: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// What Studio's web client says instead of `type`.
    action: Option<String>,
    project_id: Option<String>,
    since: Option<String>,
    token: Option<String>,
}

impl Request {
    /// Reads a message; the second is the id that its answer repeats.
    pub(crate) fn parse(text: &str) -> Result<(Self, Option<Value>), BadRequest> {
        let value: Value = serde_json::from_str(text)
            .map_err(|_| BadRequest { message: "the message is no JSON".into(), id: None })?;
        let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned();
        let bad = |message: &str| BadRequest { message: message.to_owned(), id: id.clone() };
        let message: Message = serde_json::from_value(value)
            .map_err(|_| bad("expected an object whose fields are texts"))?;
        let kind = message.kind.or(message.action).ok_or_else(|| bad("`type` is missing"))?;
        let project = || message.project_id.clone().ok_or_else(|| bad("`project_id` is missing"));
        let request = match kind.as_str() {
            "subscribe" => Self::Subscribe { project: project()?, since: message.since.clone() },
            "unsubscribe" => Self::Unsubscribe { project: project()? },
            "ping" => Self::Ping,
            "auth" => Self::Auth { token: message.token.ok_or_else(|| bad("`token` is missing"))? },
            _ => return Err(bad("`type` must be subscribe, unsubscribe, ping or auth")),
        };
        Ok((request, id))
    }
}

/// An answer with the id of what it answers, where that had one.
pub(crate) fn answer(mut body: Value, id: Option<Value>) -> String {
    if let Some(id) = id {
        body["id"] = id;
    }
    body.to_string()
}

/// An `error`.
pub(crate) fn error(code: &str, message: &str, id: Option<Value>) -> String {
    answer(json!({ "type": "error", "code": code, "message": message }), id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_action_mean_the_same() {
        let expected = Request::Subscribe { project: "p".into(), since: None };
        for text in [
            r#"{"type":"subscribe","project_id":"p"}"#,
            r#"{"action":"subscribe","project_id":"p"}"#,
        ] {
            assert_eq!(Request::parse(text).unwrap().0, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_messages_id() {
        let bad = Request::parse(r#"{"type":"dance","id":7}"#).unwrap_err();
        assert_eq!(bad.id, Some(json!(7)));
        for text in
            ["", "[]", "{}", r#"{"type":1}"#, r#"{"type":"subscribe"}"#, r#"{"type":"auth"}"#]
        {
            assert!(Request::parse(text).is_err(), "{text}");
        }
    }
}
