//! The gateway as a browser sees it: the real service on a port of its own, the embedded broker,
//! and clients that know nothing of the crate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod conversation;
mod draining;
mod frames;
mod limits;
#[allow(dead_code, reason = "the tests of abuse use the rest")]
mod raw;
mod resume;
mod sse;
mod studio;
mod tokens;
