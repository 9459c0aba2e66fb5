//! The tables, one file each.

pub(crate) mod attempt;
pub(crate) mod delivery;
pub(crate) mod event;
pub(crate) mod lease;
pub(crate) mod webhook;
pub(crate) mod webhook_day;
