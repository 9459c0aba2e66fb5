//! A webhook: a user's subscription and the endpoint that is told.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::{
    EventSet, Filter, InvalidFilter, InvalidPattern, OwnHeaders, ProjectId, Secret, Signer,
    SigningKey, Subscription, UserId, WebhookId,
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
    /// Deliveries of one project go one after the other, in the order of publication: one that
    /// fails holds up those behind it until it has ended.
    pub ordered: bool,
    /// The webhook's own headers, sent with each attempt; at most 20.
    pub headers: OwnHeaders,
    /// Signs its deliveries.
    pub secret: Secret,
    /// The secret before the last rotation, and until when deliveries carry its signature too.
    pub previous_secret: Option<(Secret, OffsetDateTime)>,
    /// Makes `webhook-signature` instead of the secret, where its owner asked for Ed25519.
    pub signing_key: Option<SigningKey>,
    /// The key before the last rotation: `webhook-signature` is by it too for as long as the
    /// previous secret signs.
    pub previous_signing_key: Option<SigningKey>,
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
    /// Since when its endpoint has to prove that it wants to be told, and has not: nothing but
    /// the question is sent to it.
    pub pending_since: Option<OffsetDateTime>,
    /// When its endpoint proved it.
    pub verified_at: Option<OffsetDateTime>,
}

/// Why a webhook cannot be delivered to. `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Its owner, or the product, switched it off.
    #[error("the webhook is switched off; switch it on first")]
    SwitchedOff,
    /// Its endpoint has not proved that it wants to be told.
    #[error(
        "the webhook's endpoint is not verified; \
         have it answer the challenge of POST /v1/webhooks/{{webhook_id}}/verify first"
    )]
    Unverified,
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

    /// What keeps deliveries from its endpoint; `None` when nothing does.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        match (self.active, self.pending_since) {
            (false, _) => Some(Obstacle::SwitchedOff),
            (true, Some(_)) => Some(Obstacle::Unverified),
            (true, None) => None,
        }
    }

    /// The signers of an attempt made at `now`: the secret's, and during a rotation's grace
    /// period the previous one's.
    #[must_use]
    pub fn signers(&self, now: OffsetDateTime) -> (Signer, Option<Signer>) {
        let signer = |secret: &Secret, key: Option<&SigningKey>| match key {
            Some(key) => Signer::asymmetric(secret, key),
            None => Signer::new(secret),
        };
        let previous = self.previous_secret.as_ref().filter(|(_, until)| *until > now);
        let previous = previous.map(|(old, _)| signer(old, self.previous_signing_key.as_ref()));
        (signer(&self.secret, self.signing_key.as_ref()), previous)
    }

    /// The key before the last rotation, while its grace period lasts.
    #[must_use]
    pub fn previous_key(&self, now: OffsetDateTime) -> Option<&SigningKey> {
        let lasts = self.previous_secret.as_ref().is_some_and(|(_, until)| *until > now);
        self.previous_signing_key.as_ref().filter(|_| lasts)
    }
}
