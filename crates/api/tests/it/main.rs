//! The service as its users see it: real HTTP, a real store, the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod access;
mod audit;
mod browsers;
mod conventions;
mod credentials;
mod described;
mod events;
mod health;
mod idempotency;
mod isolation;
mod jobs;
mod kept;
mod limits;
mod logs;
mod races;
mod receiver;
mod rights;
mod sign_out;
mod signing;
mod studio;
mod test_operation;
mod tokens;
mod urls;
mod validation;
mod verification;
mod webhooks;
mod wire;
