//! Who is calling: access tokens (JWT), checked for the API and the gateway alike.
//!
//! Only what is needed is understood, and everything else refused: four algorithms, each with
//! keys of its own, one spelling of base64, no duplicate keys, no critical extensions (RFC 7515,
//! RFC 7519, RFC 8725), and no token of another kind that the same issuer signs. What was signed
//! out is refused in the same place. And where they call from, which tells apart those without a token.

mod address;
mod admission;
mod claims;
mod config;
mod jwks;
mod roles;
mod sign_outs;
mod token;
mod verifier;
mod wrong_tokens;

pub use address::{Proxies, network_of};
pub use admission::Refused;
pub use config::{AccessError, AuthConfig};
pub use roles::Roles;
pub use sign_outs::{SignOut, SignOuts};
pub use token::{issue, issue_for};
pub use verifier::{Access, Denied, Verifier, check_secret};
