//! The tables, one file each. (`leases`, `backlogs` and `cursors` have none: they are statements of
//! ours.)
#![allow(unreachable_pub, reason = "what the derive makes is public")]

pub(crate) mod attempt;
pub(crate) mod audit;
pub(crate) mod delivery;
pub(crate) mod event;
pub(crate) mod idempotency_key;
pub(crate) mod job;
pub(crate) mod webhook;
pub(crate) mod webhook_day;
