//! The built binary, looked at only from outside: real brokers, databases, receivers, browsers'
//! protocol, real interpreters, real kills. Every test that can runs on both backends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod browser;
mod commands;
mod crashes;
mod deployment;
mod listen;
mod matching;
mod operations;
mod rejected;
mod resuming;
mod retries;
mod secrets;
mod strangers;
mod support;
mod topology;
mod websocket;
