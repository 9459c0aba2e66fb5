//! What both brokers promise.

pub(crate) mod announcements;
pub(crate) mod delays;
pub(crate) mod history;
pub(crate) mod inspection;
pub(crate) mod messages;
pub(crate) mod refusals;
