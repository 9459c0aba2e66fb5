//! Who is to be told: user, then project. The cost of an event does not grow with the
//! connections of others, nor with the projects that its user watches.

use std::rc::Rc;

use ahash::HashMap;
use domain::{ProjectId, UserId};

use crate::entry::Entry;
use crate::session::Session;
use crate::subscriptions::Topic;

/// The connections of one worker, by what they subscribed to.
#[derive(Default)]
pub(crate) struct Index {
    users: HashMap<UserId, Watchers>,
}

#[derive(Default)]
struct Watchers {
    everyone: Vec<Rc<Session>>,
    all: Vec<Rc<Session>>,
    projects: HashMap<ProjectId, Vec<Rc<Session>>>,
}

impl Index {
    /// Takes a connection in.
    pub(crate) fn enter(&mut self, session: &Rc<Session>) {
        put(&mut self.users.entry(session.user.clone()).or_default().everyone, session);
    }

    /// Notes that `session` subscribed to `topic`, which it did not before.
    pub(crate) fn subscribe(&mut self, session: &Rc<Session>, topic: &Topic) {
        let watchers = self.users.entry(session.user.clone()).or_default();
        put(
            match topic {
                Topic::All => &mut watchers.all,
                Topic::Project(id) => watchers.projects.entry(id.clone()).or_default(),
            },
            session,
        );
    }

    /// Notes that `session` no longer subscribes to `topic`.
    pub(crate) fn unsubscribe(&mut self, session: &Session, topic: &Topic) {
        let Some(watchers) = self.users.get_mut(&session.user) else {
            return;
        };
        match topic {
            Topic::All => take(&mut watchers.all, session),
            Topic::Project(id) => watchers.leave_project(session, id),
        }
    }

    /// Forgets a connection.
    pub(crate) fn leave(&mut self, session: &Session) {
        let Some(watchers) = self.users.get_mut(&session.user) else {
            return;
        };
        take(&mut watchers.everyone, session);
        let subscriptions = session.subscriptions.borrow();
        if subscriptions.has_all() {
            take(&mut watchers.all, session);
        }
        for project in subscriptions.projects() {
            watchers.leave_project(session, project);
        }
        if watchers.everyone.is_empty() {
            self.users.remove(&session.user);
        }
    }

    /// Calls `tell` with each connection that wants `entry`, once.
    pub(crate) fn watchers(&self, entry: &Entry, mut tell: impl FnMut(&Rc<Session>)) {
        let Some(watchers) = self.users.get(&entry.user) else {
            return;
        };
        for session in &watchers.all {
            if session.subscriptions.borrow().want(entry) {
                tell(session);
            }
        }
        let project = entry.project.as_ref().and_then(|id| watchers.projects.get(id));
        for session in project.into_iter().flatten() {
            let subscriptions = session.subscriptions.borrow();
            // Those who watch everything have had it.
            if !subscriptions.has_all() && subscriptions.want(entry) {
                tell(session);
            }
        }
    }

    /// The connections of `user`.
    pub(crate) fn of_user(&self, user: &str) -> Vec<Rc<Session>> {
        self.users.get(user).map(|watchers| watchers.everyone.clone()).unwrap_or_default()
    }
}

impl Watchers {
    fn leave_project(&mut self, session: &Session, project: &ProjectId) {
        if let Some(sessions) = self.projects.get_mut(project) {
            take(sessions, session);
            if sessions.is_empty() {
                self.projects.remove(project);
            }
        }
    }
}

fn put(sessions: &mut Vec<Rc<Session>>, session: &Rc<Session>) {
    if sessions.is_empty() {
        // Most users have one connection, and most projects one watcher.
        sessions.reserve_exact(1);
    }
    sessions.push(session.clone());
}

fn take(sessions: &mut Vec<Rc<Session>>, session: &Session) {
    if let Some(place) = sessions.iter().position(|known| std::ptr::eq(&**known, session)) {
        sessions.swap_remove(place);
    }
}
