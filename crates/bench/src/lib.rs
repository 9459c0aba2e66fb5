//! Measures and breaks Studio Webhooks from outside: private servers, a receiver that records,
//! publishers, and the bare loop that shows what the machine can do.
//!
//! Nothing here knows the product's crates. What it sees, a stranger would see.

pub mod arrivals;
pub mod limit;
pub mod product;
pub mod load;
pub mod report;
pub mod servers;
pub mod usage;
