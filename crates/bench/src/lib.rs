//! Measures and breaks Studio Webhooks from outside: private servers, receivers that record,
//! publishers, and the bare loop that shows what the machine can do.
//!
//! Nothing here knows the product's crates. What it sees, a stranger would see.

pub mod servers;

pub mod dns;
pub mod event;
pub mod http;
pub mod publish;
pub mod quantile;
pub mod token;

pub mod key_server;
pub mod keys;

pub mod receiver;
pub mod signature;

pub mod ledger;

pub mod gateway;
pub mod processes;
pub mod websocket;

pub mod arrivals;
pub mod bare;
pub mod limit;
pub mod load;
pub mod product;
pub mod report;
pub mod requests;
pub mod usage;

pub mod chaos;
pub mod crowd;
pub mod waiting;
