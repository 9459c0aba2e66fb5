//! The request of a delivery, as it was sent the last time. Its headers are not kept: the code
//! that sends makes them again.

use std::collections::BTreeMap;
use std::time::Duration;

use delivery::{Endpoint, InvalidEndpoint, headers_sent};
use domain::{DeliveryId, Event, Webhook};
use serde::Serialize;
use store::AttemptRow;
use utoipa::ToSchema;

/// The request as it was sent the last time.
#[derive(Serialize, ToSchema)]
#[schema(as = LogRequest)]
pub(crate) struct RequestView {
    /// Always `POST`.
    method: &'static str,
    /// Where it was sent; null where that is not known any more.
    #[schema(required)]
    url: Option<String>,
    /// What it was sent with; credentials are masked. Null before the first attempt.
    #[schema(required)]
    headers: Option<BTreeMap<String, String>>,
    /// Whether `headers` has all of them: of a webhook whose URL, headers or secret were changed
    /// since, its own headers and the signatures of then are not kept.
    complete: bool,
    /// What was sent, byte for byte.
    body: String,
}

/// A change counts from here after its answer; requests until then may be of before.
const CHANGE_COUNTS: Duration = Duration::from_secs(1);

impl RequestView {
    /// The request of `last`, the last attempt to deliver `event` to `webhook`.
    pub(crate) fn of(
        webhook: &Webhook,
        event: &Event,
        delivery: DeliveryId,
        last: Option<&AttemptRow>,
    ) -> Result<Self, InvalidEndpoint> {
        let endpoint = Endpoint::new(webhook, last.map_or(event.occurred_at(), |a| a.started_at))?;
        let changed = webhook.request_changed_at;
        let known = last.is_some_and(|last| {
            changed.is_none_or(|changed| changed + CHANGE_COUNTS <= last.started_at)
        });
        let headers = last.map(|last| {
            let all = headers_sent(&endpoint, event, delivery, last.number, last.started_at);
            let shown = |(name, value): (String, String)| {
                let value =
                    if is_ours(&name) { value } else { webhook.headers.shown(&name, &value) };
                (name, value)
            };
            all.into_iter().filter(|(name, _)| known || is_certain(name)).map(shown).collect()
        });
        Ok(Self {
            method: "POST",
            url: known.then(|| webhook.url.clone()),
            headers,
            complete: known,
            body: String::from_utf8_lossy(&event.payload).into_owned(),
        })
    }
}

/// Whether only we set headers of this name: a signature is no credential, and who looks for a
/// mistake compares it.
fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["x-sentimatrix-", "webhook-"].iter().any(|family| name.starts_with(family))
}

/// Whether a header's value depends on nothing that a webhook's owner can change.
fn is_certain(name: &str) -> bool {
    const CERTAIN: [&str; 10] = [
        "Content-Type",
        "Content-Length",
        "Accept",
        "User-Agent",
        "X-Sentimatrix-Event",
        "X-Sentimatrix-Delivery",
        "X-Sentimatrix-Timestamp",
        "X-Sentimatrix-Attempt",
        "Webhook-Id",
        "Webhook-Timestamp",
    ];
    CERTAIN.contains(&name)
}
