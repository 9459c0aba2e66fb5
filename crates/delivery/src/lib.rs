//! One signed HTTP attempt: the connections, the guard that keeps it out of private networks, and
//! what an answer means. Used by the dispatcher, by the API's test operation and by `listen`.

mod config;
mod connections;
mod connector;
mod endpoint;
mod failure;
mod guard;
mod http1;
mod http2;
mod networks;
mod resolver;
mod retry_after;
mod sender;
mod special;

pub use config::{DeliveryConfig, DeliveryConfigError};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use guard::{Guard, RefusedUrl};
pub use networks::AllowedNetwork;
pub use sender::{Sender, compose, headers_sent};
