//! Who is calling: access tokens (JWT), checked for the API and the gateway alike.
//!
//! Only what is needed is understood, and everything else refused: one algorithm, one spelling
//! of base64, no duplicate keys, no critical extensions (RFC 7515, RFC 7519, RFC 8725).

mod claims;
mod config;
mod roles;
mod token;
mod verifier;

pub use config::{AccessError, AuthConfig};
pub use roles::Roles;
pub use token::issue;
pub use verifier::{Access, Denied, Verifier};
