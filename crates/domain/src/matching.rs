//! Which events a webhook asked for: its types, its projects and its filter.

use std::cell::OnceCell;

use crate::{Event, EventType, Filter, Filters, ProjectId};

/// An entry of a webhook's `events` that names nothing: not a type, `*`, nor a family such as
/// `scrape.*`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an event type; GET /v1/webhooks/events lists them")]
pub struct InvalidPattern(pub String);

/// A set of event types, in sixteen bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventSet(u16);

const _: () = assert!(EventType::ALL.len() <= 16);

impl EventSet {
    /// The types that `patterns` name: types, families (`scrape.*`) and `*`.
    ///
    /// # Errors
    /// [`InvalidPattern`] with the first entry that names nothing.
    ///
    /// ```
    /// # use domain::{EventSet, EventType};
    /// let set = EventSet::parse(["scrape.*"])?;
    /// assert!(set.contains(EventType::ScrapeFailed));
    /// assert!(!set.contains(EventType::ProjectCreated));
    /// # Ok::<(), domain::InvalidPattern>(())
    /// ```
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidPattern> {
        let mut bits = 0;
        for pattern in patterns {
            let named = Self::named_by(pattern);
            if named == 0 {
                return Err(InvalidPattern(pattern.chars().take(64).collect()));
            }
            bits |= named;
        }
        Ok(Self(bits))
    }

    fn named_by(pattern: &str) -> u16 {
        let matches = |kind: &EventType| match pattern.strip_suffix('*') {
            Some("") => true,
            Some(family) => family.ends_with('.') && kind.as_str().starts_with(family),
            None => kind.as_str() == pattern,
        };
        EventType::ALL.iter().filter(|kind| matches(kind)).fold(0, |bits, kind| bits | bit(*kind))
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: EventType) -> bool {
        self.0 & bit(kind) != 0
    }
}

const fn bit(kind: EventType) -> u16 {
    1 << kind as u8
}

/// What a webhook subscribed to.
#[derive(Clone, Debug)]
pub struct Subscription {
    events: EventSet,
    projects: Box<[ProjectId]>,
    filter: Option<Filter>,
}

impl Subscription {
    /// A subscription to these types in these projects; no project means all of them.
    #[must_use]
    pub fn new(events: EventSet, projects: Vec<ProjectId>) -> Self {
        Self { events, projects: projects.into(), filter: None }
    }

    /// The same, of events that pass `filter` only.
    #[must_use]
    pub fn filtered(self, filter: Filter) -> Self {
        Self { filter: Some(filter), ..self }
    }
}

/// The subscriptions of one user, made for matching: nothing is parsed, and nothing is allocated
/// for an event but by filters.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    all: Box<[Ready]>,
    filters: Filters,
}

/// A subscription, with its filter's place among all of them.
#[derive(Clone, Debug)]
struct Ready {
    events: EventSet,
    projects: Box<[ProjectId]>,
    filter: Option<usize>,
}

/// Bytes of `data` that filters look through within some microseconds.
const LITTLE: usize = 8 * 1024;

impl Subscriptions {
    /// These subscriptions, in this order.
    #[must_use]
    pub fn new(subscriptions: Vec<Subscription>) -> Self {
        let filters = Filters::new(subscriptions.iter().filter_map(|one| one.filter.as_ref()));
        let mut places = 0..;
        let all = subscriptions.into_iter().map(|one| Ready {
            events: one.events,
            projects: one.projects,
            filter: one.filter.and_then(|_| places.next()),
        });
        Self { all: all.collect(), filters }
    }

    /// Those that want `event`, by their place. The user is not looked at: subscriptions are found
    /// by user.
    ///
    /// ```
    /// # use domain::{Event, EventSet, Origin, Subscription, Subscriptions};
    /// let all = [["scrape.*"], ["analysis.*"], ["*"]].map(|types| {
    ///     Subscription::new(EventSet::parse(types).unwrap(), Vec::new())
    /// });
    /// let text = br#"{"id":"e","event":"scrape.failed","timestamp":"2026-02-02T12:00:00Z","user_id":"u","data":{}}"#;
    /// let event = Event::from_json(text, &Origin::default()).unwrap();
    /// let wanting: Vec<usize> = Subscriptions::new(all.into()).wanting(&event).collect();
    /// assert_eq!(wanting, [0, 2]);
    /// ```
    pub fn wanting(&self, event: &Event) -> impl Iterator<Item = usize> {
        // Asked once, and not before a filter is what decides.
        let answers = OnceCell::new();
        let all = self.all.iter().enumerate().filter(move |(_, one)| {
            one.events.contains(event.kind)
                && (one.projects.is_empty()
                    || event.project.as_ref().is_some_and(|it| one.projects.contains(it)))
                && one.filter.is_none_or(|filter| {
                    answers.get_or_init(|| self.filters.ask(event.data_bytes())).passes(filter)
                })
        });
        all.map(|(place, _)| place)
    }

    /// Whether [`Subscriptions::wanting`] may take long enough, some milliseconds, that nobody
    /// else should wait for it.
    #[must_use]
    pub fn take_long(&self, event: &Event) -> bool {
        !self.filters.is_empty() && event.data_bytes().len() > LITTLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    fn event(kind: &str, project: Option<&str>) -> Event {
        let data = project.map_or("{}".to_owned(), |p| format!(r#"{{"project_id":"{p}"}}"#));
        let text = format!(
            r#"{{"id":"evt_1","event":"{kind}","timestamp":"2026-02-02T12:00:00Z","user_id":"usr_1","data":{data}}}"#
        );
        Event::from_json(text.as_bytes(), &Origin::default()).unwrap()
    }

    fn wants(one: &Subscription, event: &Event) -> bool {
        Subscriptions::new(vec![one.clone()]).wanting(event).next().is_some()
    }

    fn subscription(patterns: &[&str], projects: &[&str]) -> Subscription {
        Subscription::new(
            EventSet::parse(patterns.iter().copied()).unwrap(),
            projects.iter().map(|p| p.parse().unwrap()).collect(),
        )
    }

    #[test]
    fn a_webhook_receives_only_its_types() {
        let webhook = subscription(&["scrape.completed"], &[]);
        assert!(wants(&webhook, &event("scrape.completed", Some("p1"))));
        assert!(!wants(&webhook, &event("scrape.failed", Some("p1"))));
    }

    #[test]
    fn no_projects_means_all_and_events_without_a_project_too() {
        let webhook = subscription(&["*"], &[]);
        assert!(wants(&webhook, &event("project.created", Some("p1"))));
        assert!(wants(&webhook, &event("project.created", None)));
    }

    #[test]
    fn a_listed_project_excludes_the_others() {
        let webhook = subscription(&["*"], &["p1", "p2"]);
        assert!(wants(&webhook, &event("scrape.started", Some("p2"))));
        assert!(!wants(&webhook, &event("scrape.started", Some("p3"))));
        assert!(!wants(&webhook, &event("scrape.started", None)));
    }

    #[test]
    fn a_filter_is_asked_last_and_of_data_alone() {
        let webhook = subscription(&["scrape.*"], &[]);
        let webhook = webhook.filtered(Filter::parse(r#"{"project_id":{"$ne":"p1"}}"#).unwrap());
        assert!(wants(&webhook, &event("scrape.started", Some("p2"))));
        assert!(wants(&webhook, &event("scrape.started", None)));
        assert!(!wants(&webhook, &event("scrape.started", Some("p1"))));
        assert!(!wants(&webhook, &event("project.created", Some("p2"))));
    }

    #[test]
    fn patterns_name_types_families_or_everything() {
        for wrong in ["", "scrape", "scrape*", "*.completed", "scrape.done", "nothing.*"] {
            assert!(EventSet::parse([wrong]).is_err(), "{wrong:?}");
        }
        let all = EventSet::parse(["*"]).unwrap();
        assert!(EventType::ALL.iter().all(|kind| all.contains(*kind)));
    }
}
