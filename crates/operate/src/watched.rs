//! What a service tells about itself.

use actix_web::HttpResponse;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

/// A service that operators watch.
#[async_trait]
pub trait Watched: Send + Sync {
    /// Its name, such as `api`.
    fn name(&self) -> &'static str;

    /// Whether it can do its work, and what is away.
    async fn readiness(&self) -> Readiness;

    /// What is under way and what is waiting in this process, in numbers: a JSON object. Nothing
    /// in it is any user's.
    fn waiting(&self) -> Value;
}

/// Whether work can be done, with the state of each part: `ready`, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness(Vec<(&'static str, String)>);

impl Readiness {
    /// Of these parts, each with the reason why it is away.
    #[must_use]
    pub fn of<const N: usize>(parts: [(&'static str, Option<String>); N]) -> Self {
        let told = |reason: Option<String>| reason.unwrap_or_else(|| "ready".to_owned());
        Self(parts.into_iter().map(|(name, reason)| (name, told(reason))).collect())
    }

    /// Whether no part is away.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.iter().all(|(_, state)| state == "ready")
    }

    /// This, and what else there is; of a part that both name, the one that is away counts.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (name, state) in other.0 {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some(known) if known.1 == "ready" => known.1 = state,
                Some(_) => {}
                None => self.0.push((name, state)),
            }
        }
        self
    }

    fn status(&self) -> &'static str {
        if self.is_ready() { "ready" } else { "away" }
    }

    fn answer(&self, body: &Value) -> HttpResponse {
        let mut answer =
            if self.is_ready() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
        answer.json(body)
    }

    /// 200 or 503, with every part: for operators.
    pub(crate) fn details(&self) -> HttpResponse {
        let mut body = Map::new();
        body.insert("status".to_owned(), json!(self.status()));
        body.extend(self.0.iter().map(|(name, state)| ((*name).to_owned(), json!(state))));
        self.answer(&Value::Object(body))
    }
}

/// The public `/readyz`: 200 or 503 and one word. What is away, and why, is told to operators.
#[must_use]
pub fn bare(readiness: &Readiness) -> HttpResponse {
    readiness.answer(&json!({ "status": readiness.status() }))
}

/// `/healthz`: the process lives.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody;

    fn text(answer: HttpResponse) -> (u16, String) {
        let status = answer.status().as_u16();
        let bytes = answer.into_body().try_into_bytes().unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn strangers_learn_one_word_and_operators_every_part() {
        let away = Some("connection refused by db.internal:5432".to_owned());
        let one = Readiness::of([("store", away), ("broker", None)]);
        let both = Readiness::of([("broker", None), ("history", None)]).and(one);
        assert_eq!(text(bare(&both)), (503, r#"{"status":"away"}"#.to_owned()));
        let (status, details) = text(both.details());
        let details: Value = serde_json::from_str(&details).unwrap();
        assert_eq!((status, &details["broker"]), (503, &json!("ready")));
        assert!(details["store"].as_str().unwrap().contains("5432"), "{details}");
        let ready = Readiness::of([("store", None)]);
        assert_eq!(text(bare(&ready)), (200, r#"{"status":"ready"}"#.to_owned()));
    }
}
