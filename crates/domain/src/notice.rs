//! Notices: what Studio may want to tell a webhook's owner (`docs/asyncapi.yaml`).

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{NoticeId, UserId, WebhookId};

/// What a notice is about: its routing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// `webhook.failing`: the attempt before the last of a delivery failed, for the first time.
    WebhookFailing,
    /// `webhook.disabled`: the product switched it off.
    WebhookDisabled,
    /// `webhook.recovered`: a failing webhook took a delivery.
    WebhookRecovered,
    /// `delivery.exhausted`: every attempt of a delivery failed.
    DeliveryExhausted,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::WebhookFailing,
        Self::WebhookDisabled,
        Self::WebhookRecovered,
        Self::DeliveryExhausted,
    ];

    /// The routing key, and the field `notice` of the body.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebhookFailing => "webhook.failing",
            Self::WebhookDisabled => "webhook.disabled",
            Self::WebhookRecovered => "webhook.recovered",
            Self::DeliveryExhausted => "delivery.exhausted",
        }
    }

    /// The kind of a routing key.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == key)
    }

    /// Whether it is kept until it was published. There is one for each delivery that is
    /// exhausted: those are not, and the log shows the same.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        !matches!(self, Self::DeliveryExhausted)
    }
}

/// Something that happened to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names it: published twice, it is the same.
    pub id: NoticeId,
    /// What happened.
    pub kind: NoticeKind,
    /// Whose webhook it is.
    pub user: UserId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// The JSON of the message.
    pub body: String,
}

#[derive(Serialize)]
struct Body<'a> {
    id: NoticeId,
    notice: &'static str,
    timestamp: String,
    user_id: &'a str,
    webhook_id: WebhookId,
    data: Map<String, Value>,
}

impl Notice {
    /// What happened to `webhook` of `user` at `at`; `data` is the kind's own.
    #[must_use]
    pub fn new(
        kind: NoticeKind,
        at: OffsetDateTime,
        user: &UserId,
        webhook: WebhookId,
        data: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let id = NoticeId::generate();
        let body = Body {
            id,
            notice: kind.as_str(),
            timestamp: whole_seconds(at),
            user_id: user.as_str(),
            webhook_id: webhook,
            data: data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        let body = serde_json::to_string(&body).expect("texts and values are JSON");
        Self { id, kind, user: user.clone(), webhook, body }
    }
}

/// `at` in RFC 3339, without parts of a second.
#[must_use]
pub fn whole_seconds(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).expect("zero is a nanosecond");
    at.format(&Rfc3339).expect("this century's dates have an RFC 3339 form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_notice_names_its_kind_its_owner_and_its_webhook() {
        let (user, webhook) = ("usr_1".parse().unwrap(), WebhookId::generate());
        let at = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        let data = [("exhausted", json!(3))];
        let notice = Notice::new(NoticeKind::WebhookDisabled, at, &user, webhook, data);
        let body: Value = serde_json::from_str(&notice.body).unwrap();
        let expected = json!({
            "id": notice.id.to_string(), "notice": "webhook.disabled",
            "timestamp": "1970-01-01T00:00:01Z", "user_id": "usr_1",
            "webhook_id": webhook.to_string(), "data": { "exhausted": 3 },
        });
        assert_eq!(body, expected);
        assert_eq!(NoticeKind::of("webhook.disabled"), Some(NoticeKind::WebhookDisabled));
    }
}
