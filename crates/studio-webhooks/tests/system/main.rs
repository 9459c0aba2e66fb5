//! The built binary, looked at only from outside: real brokers, databases, receivers, browsers'
//! protocol, real interpreters, real kills. Every test that can runs on both backends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod amqps;
mod audit;
mod away;
mod browser;
mod changes;
mod chaos;
mod clocks;
mod commands;
mod crashes;
mod crowds;
mod deployment;
mod descriptors;
mod endpoints;
mod files;
mod fuzzing;
mod health;
mod inside;
mod jobs;
mod key_set;
mod listen;
mod markers;
mod matching;
mod operations;
mod operator;
mod operators;
mod ordered;
mod pace;
mod poison;
mod power;
mod rejected;
mod repeats;
mod resuming;
mod retries;
mod secrets;
mod sign_outs;
mod standing;
mod stops;
mod strangers;
mod supply;
mod support;
mod sweeps;
mod tls;
mod topology;
mod websocket;
