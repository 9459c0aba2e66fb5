//! The private servers, started for real.

mod servers;
