//! What the store promises, on SQLite and PostgreSQL alike.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[macro_use]
mod database;
mod samples;

mod audit;
mod backlogs;
mod health;
mod idempotency;
mod jobs;
mod leases;
mod logs;
mod ordered;
mod outages;
mod recording;
mod rekey;
mod retention;
mod schema;
mod secrets;
mod sign_outs;
mod statistics;
mod suspects;
mod sweep;
mod throughput;
mod webhooks;
