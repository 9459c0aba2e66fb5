//! What one connection subscribed to.

use domain::{EventSet, ProjectId};

use crate::entry::Entry;

/// What a client names: a project, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    All,
    Project(ProjectId),
}

impl Topic {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "*" { Some(Self::All) } else { text.parse().ok().map(Self::Project) }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Project(id) => id.as_str(),
        }
    }

    /// The project that it names, if it names one.
    pub(crate) fn project(&self) -> Option<&ProjectId> {
        match self {
            Self::All => None,
            Self::Project(id) => Some(id),
        }
    }

    /// Whether `entry` belongs to it.
    #[cfg(test)]
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Project(id) => entry.project.as_ref() == Some(id),
        }
    }
}

/// What is wanted of a topic.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    events: EventSet,
    /// The newest event when it was subscribed to: only later ones are told.
    after: u64,
}

impl Wanted {
    fn takes(&self, entry: &Entry) -> bool {
        entry.seq > self.after && self.events.contains(entry.kind)
    }
}

/// Projects, or everything of the user.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    all: Option<Wanted>,
    /// Sorted: an event is looked for among all of them, and a resume looks for many.
    projects: Vec<(ProjectId, Wanted)>,
}

impl Subscriptions {
    /// How many topics there are.
    pub(crate) fn len(&self) -> usize {
        self.projects.len() + usize::from(self.all.is_some())
    }

    /// Whether everything of the user is subscribed to.
    pub(crate) fn has_all(&self) -> bool {
        self.all.is_some()
    }

    /// Whether `topic` is subscribed to.
    pub(crate) fn has(&self, topic: &Topic) -> bool {
        match topic {
            Topic::All => self.all.is_some(),
            Topic::Project(id) => self.place(id).is_ok(),
        }
    }

    /// The projects.
    pub(crate) fn projects(&self) -> impl Iterator<Item = &ProjectId> {
        self.projects.iter().map(|(id, _)| id)
    }

    /// Wants these types of `topic`, from after event `after` on. A topic that was there already
    /// loses nothing that is still on its way.
    pub(crate) fn add(&mut self, topic: &Topic, events: EventSet, after: u64) {
        match topic {
            Topic::All => match &mut self.all {
                Some(known) => known.events = events,
                all => *all = Some(Wanted { events, after }),
            },
            Topic::Project(id) => match self.place(id) {
                Ok(place) => self.projects[place].1.events = events,
                Err(place) => {
                    self.projects.reserve_exact(1);
                    self.projects.insert(place, (id.clone(), Wanted { events, after }));
                }
            },
        }
    }

    /// Where `project` stands, or would.
    fn place(&self, project: &ProjectId) -> Result<usize, usize> {
        self.projects.binary_search_by(|(known, _)| known.cmp(project))
    }

    /// Removes `topic`; false when it was not there.
    pub(crate) fn remove(&mut self, topic: &Topic) -> bool {
        match topic {
            Topic::All => self.all.take().is_some(),
            Topic::Project(id) => self.place(id).map(|place| self.projects.remove(place)).is_ok(),
        }
    }

    /// Whether `entry` is to be sent: once, although `*` and its project may both match.
    pub(crate) fn want(&self, entry: &Entry) -> bool {
        self.all.is_some_and(|wanted| wanted.takes(entry))
            || entry.project.as_ref().is_some_and(|project| {
                self.place(project).is_ok_and(|place| self.projects[place].1.takes(entry))
            })
    }

    /// Everything up to event `top` has been sent.
    pub(crate) fn advance(&mut self, top: u64) {
        let all = self.all.iter_mut();
        for wanted in all.chain(self.projects.iter_mut().map(|(_, wanted)| wanted)) {
            wanted.after = wanted.after.max(top);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::tests::entry;

    fn topic(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    fn every() -> EventSet {
        EventSet::parse(["*"]).unwrap()
    }

    #[test]
    fn a_connection_wants_its_projects_or_everything() {
        let mut subscriptions = Subscriptions::default();
        let (one, two) = (entry(1, "u", "p1"), entry(2, "u", "p2"));
        assert!(!subscriptions.want(&one));
        subscriptions.add(&topic("p1"), every(), 0);
        assert!(subscriptions.want(&one) && !subscriptions.want(&two));
        subscriptions.add(&topic("*"), every(), 0);
        assert!(subscriptions.want(&two) && subscriptions.len() == 2);
        assert!(subscriptions.remove(&topic("*")) && !subscriptions.remove(&topic("*")));
        assert!(!subscriptions.want(&two));
    }

    #[test]
    fn only_the_types_asked_for_are_wanted_and_only_from_then_on() {
        let mut subscriptions = Subscriptions::default();
        let failed = EventSet::parse(["scrape.failed"]).unwrap();
        subscriptions.add(&topic("p1"), failed, 0);
        assert!(!subscriptions.want(&entry(1, "u", "p1")));
        subscriptions.add(&topic("p2"), every(), 7);
        assert!(
            !subscriptions.want(&entry(7, "u", "p2")) && subscriptions.want(&entry(8, "u", "p2"))
        );
    }

    #[test]
    fn a_project_named_twice_counts_once_and_keeps_its_place() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.add(&topic("p1"), every(), 3);
        subscriptions.add(&topic("p1"), every(), 9);
        assert_eq!(subscriptions.len(), 1);
        assert!(subscriptions.want(&entry(4, "u", "p1")), "it was on its way");
    }
}
