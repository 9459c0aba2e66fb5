//! Attempts against the worst of endpoints and resolvers, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attempt;
mod connections;
mod names;
mod odd;
mod slow;
