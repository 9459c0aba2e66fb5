//! What is done, and on which object.

use domain::{UserId, WebhookId};

/// Every action, with its name.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What is done. Publishing events is not here: an event has an id, a place in the history
        /// and a log of its own for each delivery, and a row for each would double what the
        /// product writes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name, such as `webhook.create`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// A webhook was made.
    WebhookCreate = "webhook.create",
    /// Fields of a webhook were changed.
    WebhookUpdate = "webhook.update",
    /// A webhook was deleted.
    WebhookDelete = "webhook.delete",
    /// A webhook was given a new secret.
    WebhookRotateSecret = "webhook.rotate_secret",
    /// A webhook's endpoint was asked to prove that it is its owner's.
    WebhookVerify = "webhook.verify",
    /// A webhook's endpoint was sent a sample.
    WebhookTest = "webhook.test",
    /// A service switched a webhook off, because its endpoint is dead or gone.
    WebhookSwitchOff = "webhook.switch_off",
    /// A delivery was made again.
    DeliveryRedeliver = "delivery.redeliver",
    /// A job was begun that makes a range of deliveries again.
    JobRedeliver = "job.redeliver",
    /// A job was begun that delivers what was missed.
    JobReplay = "job.replay",
    /// A job was cancelled.
    JobCancel = "job.cancel",
    /// A user, or one token, was signed out.
    UserSignOut = "user.sign_out",
    /// Everything of a user was erased.
    UserErase = "user.erase",
    /// An access token was made.
    TokenIssue = "token.issue",
    /// Secrets were encrypted anew.
    SecretsRekey = "secrets.rekey",
    /// What each key encrypts was counted.
    SecretsList = "secrets.list",
    /// The database was brought up to date.
    DatabaseMigrate = "database.migrate",
    /// Rejected messages were listed.
    RejectedList = "rejected.list",
    /// A rejected message was shown whole.
    RejectedShow = "rejected.show",
    /// Rejected messages were sent back.
    RejectedRequeue = "rejected.requeue",
    /// Rejected messages were dropped.
    RejectedDrop = "rejected.drop",
    /// The audit trail was read by a command.
    AuditRead = "audit.read",
}

impl std::str::FromStr for Action {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|action| action.as_str() == text).ok_or(())
    }
}

/// What an action is done on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A webhook; its id.
    Webhook,
    /// A delivery; its id, that of the log.
    Delivery,
    /// A job; its id.
    Job,
    /// A user; their id.
    User,
    /// The queue `studio.rejected`; the message's id, or what was asked for.
    Rejected,
    /// The installation: its database, keys and trail.
    Installation,
}

impl ObjectKind {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Delivery => "delivery",
            Self::Job => "job",
            Self::User => "user",
            Self::Rejected => "rejected",
            Self::Installation => "installation",
        }
    }
}

/// Something done.
#[derive(Clone, Debug)]
pub struct Deed<'a> {
    pub(crate) action: Action,
    pub(crate) kind: ObjectKind,
    pub(crate) id: String,
    pub(crate) user: Option<&'a UserId>,
    pub(crate) fields: Vec<&'static str>,
    pub(crate) outcome: String,
}

impl<'a> Deed<'a> {
    /// `action`, done on the object of this kind and id. Nobody's in particular, and done, unless
    /// more is said.
    #[must_use]
    pub fn of(action: Action, kind: ObjectKind, id: &str) -> Self {
        let outcome = "done".to_owned();
        Self { action, kind, id: id.to_owned(), user: None, fields: Vec::new(), outcome }
    }

    /// `action`, done on a webhook of `user`.
    #[must_use]
    pub fn on_webhook(action: Action, user: &'a UserId, webhook: WebhookId) -> Self {
        Self::of(action, ObjectKind::Webhook, &webhook.to_string()).belonging_to(user)
    }

    /// On an object of this user's.
    #[must_use]
    pub fn belonging_to(self, user: &'a UserId) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The names of what was changed: never values.
    #[must_use]
    pub fn fields(self, fields: Vec<&'static str>) -> Self {
        Self { fields, ..self }
    }

    /// What came of it, in a word or two of our own: never a text of others.
    #[must_use]
    pub fn outcome(self, outcome: &str) -> Self {
        Self { outcome: outcome.to_owned(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_found_by_its_name() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(*action));
        }
        assert_eq!("webhook".parse::<Action>(), Err(()));
    }
}
