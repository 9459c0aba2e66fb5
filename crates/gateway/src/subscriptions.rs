//! What one connection subscribed to.

use std::collections::BTreeSet;

use domain::{Event, ProjectId};

/// Projects, or everything of the user.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    all: bool,
    projects: BTreeSet<ProjectId>,
}

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
}

impl Subscriptions {
    /// Adds `topic`; false when there are `most` projects already.
    pub(crate) fn add(&mut self, topic: Topic, most: usize) -> bool {
        match topic {
            Topic::All => self.all = true,
            Topic::Project(id) => {
                if !self.projects.contains(&id) && self.projects.len() >= most {
                    return false;
                }
                self.projects.insert(id);
            }
        }
        true
    }

    /// Removes `topic`.
    pub(crate) fn remove(&mut self, topic: &Topic) {
        match topic {
            Topic::All => self.all = false,
            Topic::Project(id) => drop(self.projects.remove(id)),
        }
    }

    /// Whether `event` is to be sent: once, although `*` and its project may both match.
    pub(crate) fn want(&self, event: &Event) -> bool {
        self.all || event.project.as_ref().is_some_and(|project| self.projects.contains(project))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Origin;

    fn event(project: &str) -> Event {
        let text = format!(
            r#"{{"id":"e","event":"scrape.started","timestamp":"2026-02-02T12:00:00Z","user_id":"u","data":{{"project_id":"{project}"}}}}"#
        );
        Event::from_json(text.as_bytes(), &Origin::default()).unwrap()
    }

    #[test]
    fn a_connection_wants_its_projects_or_everything() {
        let mut subscriptions = Subscriptions::default();
        assert!(!subscriptions.want(&event("p1")));
        subscriptions.add(Topic::parse("p1").unwrap(), 10);
        assert!(subscriptions.want(&event("p1")) && !subscriptions.want(&event("p2")));
        subscriptions.add(Topic::All, 10);
        assert!(subscriptions.want(&event("p2")));
        subscriptions.remove(&Topic::All);
        assert!(!subscriptions.want(&event("p2")));
    }

    #[test]
    fn projects_are_limited_and_the_same_one_counts_once() {
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.add(Topic::parse("p1").unwrap(), 1));
        assert!(subscriptions.add(Topic::parse("p1").unwrap(), 1));
        assert!(!subscriptions.add(Topic::parse("p2").unwrap(), 1));
    }
}
