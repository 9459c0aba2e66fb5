//! Limits that every service shares.

/// Largest event, in bytes, as published (`docs/publishers.md`): 256 KiB.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Deepest nesting of arrays and objects in an event.
pub const MAX_EVENT_DEPTH: usize = 128;

/// What is kept of an endpoint's answer, in bytes.
pub const MAX_STORED_RESPONSE: usize = 1024;

/// Attempts of one delivery: the first, and one for each step of the default schedule.
pub const MAX_ATTEMPTS: u32 = 5;
