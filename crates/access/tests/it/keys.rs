//! Keys of the tests, made once: RSA ones take a while.

use std::sync::LazyLock;
use std::time::Duration;

use access::{AuthConfig, Verifier};
use bench::keys::SigningKey;
use time::OffsetDateTime;

pub(crate) static RSA: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::rsa("rsa-1", 2_048).unwrap());
pub(crate) static P256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::p256("ec-1").unwrap());
pub(crate) static ED25519: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::ed25519("ed-1").unwrap());

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

pub(crate) fn all() -> [&'static SigningKey; 3] {
    [&RSA, &P256, &ED25519]
}

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "studio-webhooks";

/// Claims that let `usr_1` in, with `extra` (`,"key":value`) after them; for us, unless `extra`
/// says for whom.
pub(crate) fn claims(extra: &str) -> String {
    let aud = if extra.contains(r#""aud""#) { "" } else { r#","aud":"studio-webhooks""# };
    format!(r#"{{"sub":"usr_1","exp":{}{aud}{extra}}}"#, now().unix_timestamp() + 600)
}

/// A verifier of this key set, without a secret.
pub(crate) fn verifier(jwks: &str) -> Verifier {
    verifier_of(&config(jwks))
}

/// A verifier with these settings, by which nobody was signed out.
pub(crate) fn verifier_of(config: &AuthConfig) -> Verifier {
    let verifier = Verifier::new(config).unwrap();
    verifier.sign_outs().set_known();
    verifier
}

pub(crate) fn config(jwks: &str) -> AuthConfig {
    AuthConfig { jwks: jwks.into(), audience: AUDIENCE.into(), ..AuthConfig::default() }
}

/// Waits until `what` is true.
pub(crate) async fn until(what: impl Fn() -> bool) {
    let all = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("within 20 s");
}
