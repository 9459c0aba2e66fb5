//! Access tokens (JWT, HS256), made as Studio makes them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use serde_json::json;

use crate::signature::keyed;

/// A token of `user` with these roles, valid for an hour.
#[must_use]
pub fn access_token(secret: &str, user: &str, roles: &[&str]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    signed(secret, &json!({"sub": user, "exp": now + 3_600, "type": "access", "roles": roles}))
}

/// A token with any claims at all, correctly signed.
#[must_use]
pub fn signed(secret: &str, claims: &serde_json::Value) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let head = encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let text = format!("{head}.{}", encode(&claims.to_string()));
    let mut mac = keyed(secret.as_bytes());
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_and_names_its_user() {
        let token = access_token("secret", "usr_1", &["user"]);
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["sub"], &claims["roles"][0]), (&"usr_1".into(), &"user".into()));
    }
}
