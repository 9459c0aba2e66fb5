//! A webhook: a user's subscription and the endpoint that is told.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::{
    EventSet, Filter, InvalidFilter, InvalidPattern, ProjectId, Secret, Signer, Subscription,
    UserId, WebhookId,
};

/// What a webhook subscribed to cannot be read by this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubscription {
    /// `events` names what is no type.
    #[error(transparent)]
    Events(#[from] InvalidPattern),
    /// `filter` has what this version does not know.
    #[error("its filter cannot be read: {0}")]
    Filter(InvalidFilter),
}

/// A user's subscription to events, as stored. Valid by construction of the API, which checks
/// every field at its edge.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Names it.
    pub id: WebhookId,
    /// Whose it is.
    pub user: UserId,
    /// The user's words, 1 to 100 characters.
    pub name: String,
    /// The endpoint, http or https, at most 2,048 characters.
    pub url: String,
    /// What it asked for: types, families (`scrape.*`) or `*`.
    pub events: Vec<String>,
    /// Only these projects; all of them when empty.
    pub project_ids: Vec<ProjectId>,
    /// Only events whose `data` passes: the JSON of a [`Filter`].
    pub filter: Option<String>,
    /// Deliveries started in one second, at most; without a limit of its own when `None`.
    pub rate_limit: Option<u32>,
    /// The webhook's own headers, sent with each attempt; at most 20.
    pub headers: BTreeMap<String, String>,
    /// Signs its deliveries.
    pub secret: Secret,
    /// The secret before the last rotation, and until when deliveries carry its signature too.
    pub previous_secret: Option<(Secret, OffsetDateTime)>,
    /// Whether events are delivered.
    pub active: bool,
    /// The user's words, longer.
    pub description: Option<String>,
    /// The user's own keys and values; never looked at.
    pub metadata: BTreeMap<String, String>,
    /// Why it was switched off, when the product did it.
    pub disabled_reason: Option<String>,
    /// When it was switched off.
    pub disabled_at: Option<OffsetDateTime>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
    /// When its URL, headers or secret were last changed: requests sent before may have differed.
    pub request_changed_at: Option<OffsetDateTime>,
}

impl Webhook {
    /// What it subscribed to, made for matching.
    ///
    /// # Errors
    /// [`InvalidSubscription`] when `events` or `filter` has what this version does not know.
    pub fn subscription(&self) -> Result<Subscription, InvalidSubscription> {
        let events = EventSet::parse(self.events.iter().map(String::as_str))?;
        let all = Subscription::new(events, self.project_ids.clone());
        let Some(filter) = &self.filter else {
            return Ok(all);
        };
        let filter = Filter::parse(filter)
            .map_err(|mut errors| InvalidSubscription::Filter(errors.swap_remove(0)))?;
        Ok(all.filtered(filter))
    }

    /// The signers of an attempt made at `now`: the secret's, and during a rotation's grace
    /// period the previous one's.
    #[must_use]
    pub fn signers(&self, now: OffsetDateTime) -> (Signer, Option<Signer>) {
        let previous = self.previous_secret.as_ref().filter(|(_, until)| *until > now);
        (Signer::new(&self.secret), previous.map(|(secret, _)| Signer::new(secret)))
    }
}
