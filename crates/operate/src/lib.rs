//! What operators see and set while a service runs, on a listener of their own: health in
//! detail, metrics, what is logged, and what is waiting. The public network sees [`bare`] alone.

mod config;
mod guard;
mod log_level;
mod routes;
mod watched;

pub use config::OperateConfig;
pub use routes::{Served, serve};
pub use watched::{Readiness, Watched, bare, healthz};
