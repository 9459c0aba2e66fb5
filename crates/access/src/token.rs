//! The form of a token, and making one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::UserId;
use domain::setting::SecretText;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use time::OffsetDateTime;

use crate::AuthConfig;

/// The HMAC of HS256 over `signed`.
pub(crate) fn hs256(secret: &SecretText, signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    mac
}

/// An access token of `user` with these roles, signed by HS256.
#[must_use]
pub fn issue(
    secret: &SecretText,
    user: &UserId,
    roles: &[&str],
    issued_at: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> String {
    let config = AuthConfig { jwt_secret: secret.clone(), ..AuthConfig::default() };
    issue_for(&config, user, roles, issued_at, expires_at)
}

/// The same, as these settings take it: with `iss` and `aud` where they are enforced.
#[must_use]
pub fn issue_for(
    config: &AuthConfig,
    user: &UserId,
    roles: &[&str],
    issued_at: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let mut claims = json!({
        "sub": user,
        "type": "access",
        "roles": roles,
        "iat": issued_at.unix_timestamp(),
        "exp": expires_at.unix_timestamp(),
    });
    for (claim, wanted) in [("iss", &config.issuer), ("aud", &config.audience)] {
        if !wanted.is_empty() {
            claims[claim] = json!(wanted);
        }
    }
    sign(&config.jwt_secret, &header.to_string(), &claims.to_string())
}

/// A token of these very texts.
pub(crate) fn sign(secret: &SecretText, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hs256(secret, &signed).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
