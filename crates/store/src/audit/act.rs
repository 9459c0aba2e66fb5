//! Who does something.

use std::net::IpAddr;

/// Who does something, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The subject of the access token; `operator:` and the number of the system's user for a
    /// command; `service` for what a service does by itself.
    pub actor: String,
    /// The way in.
    pub via: Via,
    /// The access token's `jti`, where it has one.
    pub token_id: Option<String>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The id of the request.
    pub request_id: Option<String>,
}

/// The way in: an actor of one way is another than that of the same name of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Via {
    /// A request to the API.
    Api = 0,
    /// A command of an operator.
    Command = 1,
    /// A service, by itself.
    Service = 2,
}

impl Via {
    /// `api`, `command` or `service`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Command => "command",
            Self::Service => "service",
        }
    }

    pub(crate) const fn of_stored(number: i16) -> Self {
        match number {
            0 => Self::Api,
            1 => Self::Command,
            _ => Self::Service,
        }
    }
}

impl Act {
    /// A service, by itself.
    #[must_use]
    pub fn service() -> Self {
        Self::by("service".to_owned(), Via::Service)
    }

    /// An operator's command, run by the system's user of this number.
    #[must_use]
    pub fn command(uid: u32) -> Self {
        Self::by(format!("operator:{uid}"), Via::Command)
    }

    fn by(actor: String, via: Via) -> Self {
        Self { actor, via, token_id: None, address: None, request_id: None }
    }
}
