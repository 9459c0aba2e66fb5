//! Events to publish, as text: the tests care for every byte.

use std::sync::atomic::{AtomicU64, Ordering};

/// An event to publish.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) user: String,
    pub(crate) data: String,
}

pub(crate) const TIMESTAMP: &str = "2026-02-02T12:00:00Z";

impl Published {
    /// An event of `user` with this `data`, and an id of its own.
    pub(crate) fn new(user: &str, kind: &str, data: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("evt_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { id, kind: kind.into(), user: user.into(), data: data.into() }
    }

    /// `scrape.completed` in the project.
    pub(crate) fn in_project(user: &str, project: &str) -> Self {
        Self::new(user, "scrape.completed", &format!(r#"{{"project_id":"{project}","n":1.0}}"#))
    }

    /// So many of them, each in a project of its own.
    pub(crate) fn several(user: &str, count: usize) -> Vec<Self> {
        (0..count).map(|n| Self::in_project(user, &format!("p{n}"))).collect()
    }

    /// What its publisher sends.
    pub(crate) fn message(&self) -> String {
        let Self { id, kind, user, data } = self;
        format!(
            r#"{{"id":"{id}","event":"{kind}","timestamp":"{TIMESTAMP}","user_id":"{user}","data":{data}}}"#
        )
    }

    /// What endpoints and sockets must receive.
    pub(crate) fn payload(&self) -> String {
        let Self { id, kind, data, .. } = self;
        format!(r#"{{"id":"{id}","event":"{kind}","timestamp":"{TIMESTAMP}","data":{data}}}"#)
    }
}
