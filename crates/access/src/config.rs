//! Settings of authentication.

use std::time::Duration;

use domain::setting::{self, SecretText, SecretUrl};
use serde::Deserialize;

/// `[auth]`, or `STUDIO__AUTH__…`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The secret that tokens are signed with (HS256), at least 32 bytes. Required where `jwks`
    /// is not set.
    pub jwt_secret: SecretText,
    /// The public keys that tokens are signed with (RS256, ES256, EdDSA): a JSON Web Key Set, by
    /// its https URL or the path of a file. None when empty, the default.
    pub jwks: SecretUrl,
    /// How often the keys are read again; 5 min by default.
    #[serde(deserialize_with = "setting::duration")]
    pub jwks_refresh: Duration,
    /// Whether `jwks` may be an http URL of another machine; `false` by default.
    #[serde(deserialize_with = "setting::boolean")]
    pub jwks_allow_http: bool,
    /// The `iss` that tokens must have; not checked when empty, the default.
    pub issuer: String,
    /// The `aud` that tokens must have; not checked when empty, the default. Required with `jwks`:
    /// the same issuer signs tokens for others, too.
    pub audience: String,
    /// Wrong tokens from one address in a minute (of IPv6, one /64), for all services of the
    /// process: the API's `wrong_token_limit`; 0, the default here, for no limit.
    #[serde(skip)]
    pub wrong_token_limit: u32,
    /// How long tokens live at most; 24 h by default. A sign-out is remembered for as long: of a
    /// token that lives longer it is forgotten before the token's end.
    #[serde(deserialize_with = "setting::duration")]
    pub longest_token_life: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            jwt_secret: SecretText::default(),
            jwks: SecretUrl::default(),
            jwks_refresh: Duration::from_secs(5 * 60),
            jwks_allow_http: false,
            issuer: String::new(),
            audience: String::new(),
            wrong_token_limit: 0,
            longest_token_life: Duration::from_secs(24 * 3_600),
        }
    }
}

/// A setting of authentication is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct AccessError {
    /// The setting, such as `auth.jwt_secret`.
    pub key: &'static str,
    /// What is wrong and what is expected.
    pub message: String,
}

impl AccessError {
    pub(crate) fn jwks(message: impl Into<String>) -> Self {
        Self { key: "auth.jwks", message: message.into() }
    }
}
