//! Tokens as an attacker sends them, and public keys as their server publishes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod attacks;
mod key_server;
mod keys;
