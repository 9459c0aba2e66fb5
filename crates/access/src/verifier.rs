//! Checks tokens.

use domain::setting::SecretText;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::UserId;
use hmac::Mac;
use time::{Duration, OffsetDateTime};

use crate::claims::Strict;
use crate::jwks::{Algorithm, Jwks, PublicKeys};
use crate::token::hs256;
use crate::wrong_tokens::WrongTokens;
use crate::{AccessError, AuthConfig, Roles, SignOuts};

/// Longest token, bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// How far the clocks of issuer and verifier may differ.
pub(crate) const LEEWAY: Duration = Duration::seconds(30);

/// Shortest HS256 secret, bytes (RFC 7518, section 3.2).
const MIN_SECRET: usize = 32;

/// Claims of tokens that an issuer signs for something else than access: ID tokens (`nonce`,
/// `at_hash`, `c_hash`, `s_hash`), events and logouts (`events`), answers of introspection, proofs
/// of possession (`htm`, `htu`); and of access tokens that are good only beside such a proof
/// (`cnf`), which nobody here checks.
const FOREIGN: [&str; 9] =
    ["nonce", "at_hash", "c_hash", "s_hash", "events", "token_introspection", "htm", "htu", "cnf"];

/// Claims that name the kind of a token, as different issuers do, with what an access token's is.
const KINDS: [(&str, &[&str]); 3] =
    [("type", &["access"]), ("typ", &["Bearer", "JWT", "at+jwt"]), ("token_use", &["access"])];

/// What the header `typ` of an access token may be (RFC 7519, RFC 9068), in any case.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Checks tokens by the settings. Cloning shares them, the public keys and the sign-outs.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    /// Without one, no token of HS256 is taken.
    secret: Option<SecretText>,
    jwks: Option<Arc<Jwks>>,
    issuer: String,
    audience: String,
    wrong_tokens: WrongTokens,
    sign_outs: SignOuts,
}

/// Who is calling and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The claim `sub`.
    pub user: UserId,
    /// The claim `roles`.
    pub roles: Roles,
    /// The claim `exp`.
    pub expires_at: OffsetDateTime,
    /// The claim `iat`.
    pub issued_at: Option<OffsetDateTime>,
    /// The claim `jti`.
    pub token_id: Option<String>,
}

/// The token gives no access. Nothing more is told: the caller is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Rightly signed, and too old.
    #[error("the access token has expired")]
    Expired(Access),
    /// Rightly signed, and its user was signed out since, or it was itself.
    #[error("the access token was signed out")]
    SignedOut(Access),
    /// Rightly signed; who was signed out is not known here yet. It may be good in some seconds.
    #[error("it is not known yet who was signed out")]
    NotYet,
    /// Anything else.
    #[error("the access token is not valid")]
    Invalid,
}

/// Why a token is refused, for us alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Token,
    /// It names a key that we do not know, and may be right.
    Key,
}

impl From<()> for Wrong {
    fn from((): ()) -> Self {
        Self::Token
    }
}

/// The parts of a token, of which nothing is believed yet.
struct Parts<'a> {
    algorithm: Algorithm,
    header: Strict,
    claims: &'a str,
    /// The bytes that are signed.
    signed: &'a str,
    signature: Vec<u8>,
}

/// Whether `secret` may sign tokens.
///
/// # Errors
/// When it is missing or too short.
pub fn check_secret(secret: &SecretText) -> Result<(), AccessError> {
    let length = secret.expose().len();
    if length >= MIN_SECRET {
        return Ok(());
    }
    let message = format!("expected at least {MIN_SECRET} bytes, found {length}");
    Err(AccessError { key: "auth.jwt_secret", message })
}

impl Verifier {
    /// A verifier with these settings. With `jwks` it keeps the public keys up to date from then
    /// on, on the runtime that it is called in. It lets nobody in before it was told who was
    /// signed out ([`Verifier::sign_outs`]).
    ///
    /// # Errors
    /// When there is neither a secret nor a key set, or one of them is wrong; when there is a key
    /// set and no audience.
    ///
    /// # Panics
    /// With `jwks`, outside a runtime.
    pub fn new(config: &AuthConfig) -> Result<Self, AccessError> {
        if !config.jwks.expose().trim().is_empty() && config.audience.is_empty() {
            let message = "expected the `aud` of tokens that are for this service: with auth.jwks \
                           it is required, since the same issuer signs tokens for others, too";
            return Err(AccessError { key: "auth.audience", message: message.to_owned() });
        }
        let jwks = Jwks::start(config)?;
        let secret = &config.jwt_secret;
        let without = jwks.is_some() && secret.expose().is_empty();
        if !without {
            check_secret(secret)?;
        }
        Ok(Self(Arc::new(Settings {
            secret: (!without).then(|| secret.clone()),
            jwks,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            wrong_tokens: WrongTokens::new(config.wrong_token_limit),
            sign_outs: SignOuts::new(config.longest_token_life),
        })))
    }

    /// Who was signed out: whoever keeps it notes it there, for all who share this verifier.
    #[must_use]
    pub fn sign_outs(&self) -> &SignOuts {
        &self.0.sign_outs
    }

    /// Who `token` lets in at `now`. Never waits: when the token names an unknown key, the keys
    /// are read again meanwhile ([`Verifier::learn`] waits for that).
    ///
    /// # Errors
    /// [`Denied`] when it lets nobody in.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Access, Denied> {
        let access = self.read(token, now).map_err(|wrong| {
            if let (Wrong::Key, Some(jwks)) = (wrong, &self.0.jwks) {
                jwks.ask();
            }
            Denied::Invalid
        })?;
        // The leeway is taken from `now`: added to the last time there is, it would overflow.
        if access.expires_at <= now - LEEWAY {
            return Err(Denied::Expired(access));
        }
        if !self.0.sign_outs.is_known() {
            return Err(Denied::NotYet);
        }
        let token_id = access.token_id.as_deref();
        if self.0.sign_outs.refuse(&access.user, access.issued_at, token_id) {
            return Err(Denied::SignedOut(access));
        }
        Ok(access)
    }

    /// Counts wrong tokens of every service that this verifier is shared with.
    pub(crate) fn wrong_tokens(&self) -> &WrongTokens {
        &self.0.wrong_tokens
    }

    /// Waits, two seconds at most, for the key that `token` names, if it is unknown and the keys
    /// are being read. Whether it is worth checking the token again.
    pub async fn learn(&self, token: &str, now: OffsetDateTime) -> bool {
        match &self.0.jwks {
            Some(jwks) if self.lacks_key(token, now) => jwks.learn().await,
            _ => false,
        }
    }

    /// Whether the token names a key that is not there.
    fn lacks_key(&self, token: &str, now: OffsetDateTime) -> bool {
        Parts::of(token).is_ok_and(|parts| {
            parts.algorithm != Algorithm::Hs256
                && matches!(self.public_keys(&parts, now), Err(Wrong::Key))
        })
    }

    /// Everything but the expiry.
    fn read(&self, token: &str, now: OffsetDateTime) -> Result<Access, Wrong> {
        let parts = Parts::of(token)?;
        self.check_signature(&parts, now)?;
        self.access(&strict(parts.claims)?, parts.algorithm == Algorithm::Hs256, now)
    }

    /// The algorithm that the header names chooses among keys that are for it alone: a public key
    /// is never taken for a secret.
    fn check_signature(&self, parts: &Parts<'_>, now: OffsetDateTime) -> Result<(), Wrong> {
        let Parts { algorithm, header, signed, signature, .. } = parts;
        if *algorithm == Algorithm::Hs256 {
            let secret = self.0.secret.as_ref().ok_or(Wrong::Token)?;
            return hs256(secret, signed).verify_slice(signature).map_err(|_| Wrong::Token);
        }
        let keys = self.public_keys(parts, now)?;
        let right = keys.verify(*algorithm, header.text("kid")?, signed.as_bytes(), signature);
        if right { Ok(()) } else { Err(Wrong::Token) }
    }

    /// The public keys, with the one that the token names among them.
    fn public_keys(
        &self,
        parts: &Parts<'_>,
        now: OffsetDateTime,
    ) -> Result<Arc<PublicKeys>, Wrong> {
        let id = parts.header.text("kid")?;
        let jwks = self.0.jwks.as_ref().ok_or(Wrong::Token)?;
        let keys = jwks.keys(now).ok_or(Wrong::Key)?;
        if keys.has(parts.algorithm, id) { Ok(keys) } else { Err(Wrong::Key) }
    }

    /// What the claims say; `own` where our secret signed them.
    fn access(&self, claims: &Strict, own: bool, now: OffsetDateTime) -> Result<Access, Wrong> {
        let expires_at = claims.time("exp")?.ok_or(Wrong::Token)?;
        let issued_at = claims.time("iat")?;
        let not_before = claims.time("nbf")?;
        if issued_at.into_iter().chain(not_before).any(|at| at > now + LEEWAY) {
            return Err(Wrong::Token);
        }
        if FOREIGN.iter().any(|claim| claims.0.contains_key(*claim)) {
            return Err(Wrong::Token);
        }
        for (claim, kinds) in KINDS {
            if claims.text(claim)?.is_some_and(|kind| !kinds.contains(&kind)) {
                return Err(Wrong::Token);
            }
        }
        let config = &*self.0;
        let mismatch = |key, wanted: &str| !wanted.is_empty() && !claims.names(key, wanted);
        if mismatch("aud", &config.audience)
            || (!config.issuer.is_empty() && claims.text("iss")? != Some(&config.issuer))
        {
            return Err(Wrong::Token);
        }
        Ok(Access {
            user: claims.text("sub")?.ok_or(Wrong::Token)?.parse().map_err(|_| Wrong::Token)?,
            roles: Roles::of_claim(claims.0.get("roles"), own),
            expires_at,
            issued_at,
            token_id: claims.text("jti")?.map(str::to_owned),
        })
    }
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, Wrong> {
        if token.len() > MAX_TOKEN {
            return Err(Wrong::Token);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Wrong::Token)?;
        let (header, claims) = signed.split_once('.').ok_or(Wrong::Token)?;
        if claims.contains('.') {
            return Err(Wrong::Token);
        }
        let header = strict(header)?;
        let algorithm = algorithm(&header)?;
        Ok(Self { algorithm, header, claims, signed, signature: decode(signature)? })
    }
}

/// One of four algorithms, and nothing that would change what is signed or how (`crit`, `b64`,
/// `zip`). Keys that the header brings itself (`jwk`, `jku`, `x5u`) are never looked at.
fn algorithm(header: &Strict) -> Result<Algorithm, Wrong> {
    let plain = header
        .text("typ")?
        .is_none_or(|typ| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)))
        && !["crit", "b64", "zip"].iter().any(|key| header.0.contains_key(*key));
    let algorithm = header.text("alg")?.and_then(Algorithm::named);
    algorithm.filter(|_| plain).ok_or(Wrong::Token)
}

fn strict(part: &str) -> Result<Strict, Wrong> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Wrong::Token)
}

/// Base64 in its one spelling: no padding, no bits left over.
fn decode(part: &str) -> Result<Vec<u8>, Wrong> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Wrong::Token)
}

#[cfg(test)]
mod tests;
