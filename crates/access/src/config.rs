//! Settings of authentication.

use secrecy::SecretString;
use serde::Deserialize;

/// `[auth]`, or `STUDIO__AUTH__…`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The secret that tokens are signed with (HS256), at least 32 bytes. Required.
    pub jwt_secret: SecretString,
    /// The `iss` that tokens must have; not checked when empty, the default.
    pub issuer: String,
    /// The `aud` that tokens must have; not checked when empty, the default.
    pub audience: String,
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
