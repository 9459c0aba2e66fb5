//! What an attacker of HS256 tokens can try.

use super::*;
use crate::SignOut;
use crate::token::{issue, issue_for, sign};
use base64::engine::general_purpose::URL_SAFE;
use domain::setting::SecretText;

const NOW: i64 = 1_770_000_000;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn secret() -> SecretText {
    "a secret of at least thirty-two bytes".into()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

fn config() -> AuthConfig {
    AuthConfig { jwt_secret: secret(), ..AuthConfig::default() }
}

/// With nobody signed out.
fn verifier(config: &AuthConfig) -> Verifier {
    let verifier = Verifier::new(config).unwrap();
    verifier.sign_outs().set_known();
    verifier
}

fn verify(token: &str) -> Result<Access, Denied> {
    verifier(&config()).verify(token, now())
}

fn claims(extra: &str) -> String {
    format!(r#"{{"sub":"usr_1","exp":{}{extra}}}"#, NOW + 60)
}

fn refused(header: &str, claims: &str) {
    let result = verify(&sign(&secret(), header, claims));
    assert_eq!(result, Err(Denied::Invalid), "{header} {claims}");
}

#[test]
fn an_issued_token_lets_its_user_in() {
    let user = "usr_1".parse().unwrap();
    let token = issue(&secret(), &user, &["user"], now(), now() + Duration::HOUR);
    let access = verify(&token).unwrap();
    assert_eq!(access.user, user);
    assert!(access.roles.can_write());
    assert_eq!(access.expires_at, now() + Duration::HOUR);
}

#[test]
fn an_old_token_is_told_apart_from_a_wrong_one() {
    let user = "usr_1".parse().unwrap();
    let ended = |seconds| {
        issue(
            &secret(),
            &user,
            &["user"],
            now() - Duration::HOUR,
            now() - Duration::seconds(seconds),
        )
    };
    assert!(matches!(verify(&ended(31)), Err(Denied::Expired(_))));
    assert!(verify(&ended(29)).is_ok(), "within the leeway");
}

#[test]
fn a_token_that_never_expires_is_no_trouble() {
    let last = OffsetDateTime::new_utc(time::Date::MAX, time::Time::MIDNIGHT).unix_timestamp();
    for exp in [last, last + 86_399] {
        let token = sign(&secret(), HEADER, &format!(r#"{{"sub":"usr_1","exp":{exp}}}"#));
        assert!(verify(&token).is_ok(), "{exp}");
    }
    for exp in [last + 86_400, i64::MAX] {
        refused(HEADER, &format!(r#"{{"sub":"usr_1","exp":{exp}}}"#));
    }
}

#[test]
fn other_algorithms_and_extensions_are_refused() {
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"nOnE"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","zip":"DEF"}"#,
        r#"{"alg":"HS256","typ":"JWE"}"#,
        "[]",
        "",
    ] {
        refused(header, &claims(""));
    }
    let unsigned = sign(&secret(), r#"{"alg":"none"}"#, &claims(""));
    let bare = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert_eq!(verify(&bare), Err(Denied::Invalid));
}

#[test]
fn keys_that_a_header_brings_are_not_used() {
    let jwk = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"YXR0YWNrZXI"},"jku":"http://127.0.0.1:1/","kid":"../../dev/null"}"#;
    let token = sign(&"attacker".into(), jwk, &claims(""));
    assert_eq!(verify(&token), Err(Denied::Invalid));
}

#[test]
fn wrong_claims_are_refused() {
    let all = [
        r#"{"sub":"usr_1"}"#.to_owned(),
        r#"{"sub":"usr_1","exp":"1870000000"}"#.to_owned(),
        r#"{"sub":"usr_1","exp":1870000000.5}"#.to_owned(),
        r#"{"sub":"usr_1","exp":1e300}"#.to_owned(),
        r#"{"sub":"usr_1","exp":-1}"#.to_owned(),
        r#"{"sub":"usr_1","exp":NaN}"#.to_owned(),
        claims(&format!(r#","nbf":{}"#, NOW + 31)),
        claims(&format!(r#","iat":{}"#, NOW + 31)),
        claims(r#","type":"refresh""#),
        claims(r#","type":"id""#),
        claims(r#","type":1"#),
        claims(r#","sub":"usr_2""#),
        format!(r#"{{"exp":{}}}"#, NOW + 60),
        format!(r#"{{"exp":{},"sub":""}}"#, NOW + 60),
        format!(r#"{{"exp":{},"sub":7}}"#, NOW + 60),
        format!(r#"{{"exp":{},"sub":["usr_1"]}}"#, NOW + 60),
        format!(r#"{{"exp":{},"sub":"a\u0000b"}}"#, NOW + 60),
        format!(r#"{{"exp":{},"sub":"{}"}}"#, NOW + 60, "x".repeat(200)),
        "null".to_owned(),
    ];
    for claims in &all {
        refused(HEADER, claims);
    }
}

#[test]
fn a_signature_has_one_spelling() {
    let token = sign(&secret(), HEADER, &claims(""));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut flipped = bytes.clone();
    flipped[0] ^= 1;
    for wrong in [
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&flipped)),
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes[..31])),
        format!("{signed}.{}", URL_SAFE.encode(&bytes)),
        format!("{signed}."),
        signed.to_owned(),
        format!("{token}.{signature}"),
        format!("{signed}.{signature}{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        "x".repeat(16 * 1024),
        String::new(),
        "..".to_owned(),
    ] {
        assert_eq!(verify(&wrong), Err(Denied::Invalid), "{wrong}");
    }
    // The last character of 43 carries two bits that mean nothing: only zero is taken.
    let last = signature.chars().last().unwrap();
    let next = char::from(last as u8 + 1);
    let respelled = format!("{signed}.{}{next}", &signature[..signature.len() - 1]);
    assert_eq!(verify(&respelled), Err(Denied::Invalid));
}

#[test]
fn issuer_and_audience_are_enforced_where_they_are_set() {
    let config = AuthConfig { issuer: "studio".into(), audience: "hooks".into(), ..config() };
    let verifier = verifier(&config);
    let with = |extra: &str| verifier.verify(&sign(&secret(), HEADER, &claims(extra)), now());
    assert!(with(r#","iss":"studio","aud":"hooks""#).is_ok());
    assert!(with(r#","iss":"studio","aud":["x","hooks"]"#).is_ok());
    for wrong in [
        "",
        r#","iss":"studio""#,
        r#","iss":"other","aud":"hooks""#,
        r#","iss":["studio"],"aud":"hooks""#,
        r#","iss":"studio","aud":["x"]"#,
    ] {
        assert_eq!(with(wrong), Err(Denied::Invalid), "{wrong}");
    }
}

#[test]
fn a_short_secret_stops_the_start() {
    let config = AuthConfig { jwt_secret: "short".into(), ..AuthConfig::default() };
    assert_eq!(Verifier::new(&config).unwrap_err().key, "auth.jwt_secret");
}

#[test]
fn nobody_is_let_in_before_it_is_known_who_was_signed_out_nor_whoever_was() {
    let verifier = Verifier::new(&config()).unwrap();
    let user: UserId = "usr_1".parse().unwrap();
    let issued = |ago: i64| {
        let at = now() - Duration::seconds(ago);
        issue(&secret(), &user, &["user"], at, now() + Duration::HOUR)
    };
    assert_eq!(verifier.verify(&issued(60), now()), Err(Denied::NotYet));
    assert_eq!(verifier.verify("a.b.c", now()), Err(Denied::Invalid), "that much is known");
    verifier.sign_outs().set_known();
    assert!(verifier.verify(&issued(60), now()).is_ok());
    let at = now() - Duration::MINUTE;
    verifier.clone().sign_outs().note(&SignOut { user: user.clone(), token_id: None, at });
    for ago in [3_600, 60, 30] {
        let denied = verifier.verify(&issued(ago), now());
        assert!(matches!(denied, Err(Denied::SignedOut(_))), "{ago}");
    }
    assert!(verifier.verify(&issued(29), now()).is_ok());
}

#[test]
fn tokens_are_made_as_the_settings_take_them() {
    let config = AuthConfig { issuer: "studio".into(), audience: "hooks".into(), ..config() };
    let user: UserId = "usr_1".parse().unwrap();
    let token = issue_for(&config, &user, &["admin"], now(), now() + Duration::HOUR);
    assert!(verifier(&config).verify(&token, now()).unwrap().roles.is_admin());
}
