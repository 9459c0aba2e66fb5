//! Query strings: every wrong parameter is named.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use domain::{AuditId, DeliveryStatus, EventType, UserId, WebhookId};
use store::{Action, AuditFilter, DeliveryFilter, DeliveryPlace, PageRequest, WebhookFilter};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cursor::{self, Place};
use crate::error::{ApiError, FieldError};

/// Deepest page by number, which costs the more the deeper it is. Cursors go on from there.
pub(crate) const LAST_PAGE: u64 = 1_000;

/// The parameters of a query string, taken one by one.
pub(crate) struct Query {
    given: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

/// Whom an admin acts for; read with the token, on every path.
const USER: &str = "user_id";

impl Query {
    /// `user_id`, if it is given.
    pub(crate) fn user(request: &HttpRequest) -> Result<Option<UserId>, ApiError> {
        if !request.query_string().contains(USER) {
            return Ok(None);
        }
        let mut query = Self::all(request)?;
        let expected = "must be 1 to 128 printable characters without spaces";
        let user = query.take(USER, |text| text.parse().ok(), expected);
        if query.errors.is_empty() { Ok(user) } else { Err(ApiError::Invalid(query.errors)) }
    }

    /// The parameters of `request`, but for `user_id`.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let mut query = Self::all(request)?;
        query.given.remove(USER);
        Ok(query)
    }

    fn all(request: &HttpRequest) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> =
            actix_web::web::Query::from_query(request.query_string())
                .map(actix_web::web::Query::into_inner)
                .map_err(|e| ApiError::Invalid(vec![FieldError::new("query", e.to_string())]))?;
        let mut given = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, value) in pairs {
            if given.insert(name.clone(), value).is_some() {
                errors.push(FieldError::new(name, "stands twice"));
            }
        }
        Ok(Self { given, errors })
    }

    /// The value of `name`, read by `read`, which says what it expects where it cannot.
    fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let value = self.given.remove(name)?;
        let read = read(&value);
        if read.is_none() {
            self.errors.push(FieldError::new(name, expected));
        }
        read
    }

    /// `limit`, and `cursor` or `page`: where the list goes on, if it does not begin. A cursor
    /// knows the number of its page.
    pub(crate) fn page<P: Place>(&mut self) -> (PageRequest, Option<P>) {
        let asked = self.numbers();
        let expected = "must be a `next_cursor` of this list";
        match self.take("cursor", cursor::read, expected) {
            None => (asked, None),
            Some((place, page)) => (PageRequest { page, ..asked }, Some(place)),
        }
    }

    fn numbers(&mut self) -> PageRequest {
        let number = |most: u64| {
            move |text: &str| text.parse().ok().filter(|number| (1..=most).contains(number))
        };
        let page = self.take(
            "page",
            number(LAST_PAGE),
            "must be a number from 1 to 1,000; `cursor` goes further",
        );
        let limit = self.take("limit", number(100), "must be a number from 1 to 100");
        PageRequest { page: page.unwrap_or(1), limit: limit.unwrap_or(20) }
    }

    /// `search`, `active` and `event`, of webhooks after one.
    pub(crate) fn webhooks(&mut self, after: Option<WebhookId>) -> WebhookFilter {
        let search = |text: &str| {
            let plain = !text.contains('\0') && text.chars().count() <= 200;
            plain.then(|| text.to_owned())
        };
        WebhookFilter {
            search: self.take("search", search, "must be a text of at most 200 characters"),
            active: self.take("active", |text| text.parse().ok(), "must be true or false"),
            event: self.event(),
            after,
        }
    }

    /// `status`, `event`, `since` and `until`, of deliveries after one.
    pub(crate) fn deliveries(&mut self, after: Option<DeliveryPlace>) -> DeliveryFilter {
        let status = |text: &str| text.parse::<DeliveryStatus>().ok();
        let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let expected = "must be a time such as 2026-02-01T15:30:00Z";
        DeliveryFilter {
            status: self.take(
                "status",
                status,
                "must be success, failed, pending, retrying or cancelled",
            ),
            event: self.event(),
            since: self.take("since", time, expected),
            until: self.take("until", time, expected),
            after,
        }
    }

    /// `actor`, `action`, `object`, `since` and `until`, of the audit trail of `user`, or of all.
    pub(crate) fn audit(&mut self, user: Option<UserId>, after: Option<AuditId>) -> AuditFilter {
        let text = |text: &str| {
            let plain = (1..=256).contains(&text.chars().count()) && !text.contains('\0');
            plain.then(|| text.to_owned())
        };
        let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let expected = "must be a time such as 2026-02-01T15:30:00Z";
        AuditFilter {
            user,
            actor: self.take("actor", text, "must be a text of 1 to 256 characters"),
            action: self.take(
                "action",
                |text| text.parse::<Action>().ok(),
                "must be an action such as webhook.update",
            ),
            object: self.take("object", text, "must be an id, of 1 to 256 characters"),
            since: self.take("since", time, expected),
            until: self.take("until", time, expected),
            after,
        }
    }

    fn event(&mut self) -> Option<EventType> {
        let expected = "must be an event type; GET /v1/webhooks/events lists them";
        self.take("event", |text| text.parse().ok(), expected)
    }

    /// Nothing wrong, and nothing left that nobody asked for.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        let unknown = self.given.into_keys();
        self.errors
            .extend(unknown.map(|name| FieldError::new(name, "is no parameter of this path")));
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.errors)) }
    }
}
