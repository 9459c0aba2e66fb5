//! Whether the file can be written and read right now.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(super) struct Condition {
    troubles: Mutex<Troubles>,
}

#[derive(Default)]
struct Troubles {
    writing: Option<String>,
    reading: Option<String>,
}

impl Condition {
    /// What is wrong, in words for operators.
    pub(super) fn trouble(&self) -> Option<String> {
        let troubles = self.lock();
        troubles.writing.clone().or_else(|| troubles.reading.clone())
    }

    /// Whether nothing can be written.
    pub(super) fn refuses_writes(&self) -> bool {
        self.lock().writing.is_some()
    }

    pub(super) fn note_writing(&self, trouble: Option<String>) {
        note(&mut self.lock().writing, trouble, "written");
    }

    pub(super) fn note_reading(&self, trouble: Option<String>) {
        note(&mut self.lock().reading, trouble, "read");
    }

    fn lock(&self) -> MutexGuard<'_, Troubles> {
        // No panic can leave the texts half-changed.
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says it when it begins and when it ends, not with every try.
fn note(known: &mut Option<String>, trouble: Option<String>, verb: &str) {
    match (&*known, &trouble) {
        (None, Some(reason)) => tracing::error!("the queues cannot be {verb}: {reason}"),
        (Some(_), None) => tracing::info!("the queues can be {verb} again"),
        _ => {}
    }
    *known = trouble;
}
