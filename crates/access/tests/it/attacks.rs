//! What an attacker of tokens with public keys can try; those of HS256 stand beside the verifier.

use access::{AuthConfig, Denied, Verifier};
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bench::key_server::{Behaviour, KeyServer};
use bench::keys::SigningKey;
use bench::signature::keyed;
use hmac::Mac;
use serde_json::json;

use crate::keys::{
    AUDIENCE, ED25519, P256, RSA, SECRET, all, claims, config, now, verifier, verifier_of,
};

/// A key set in a file.
struct Set {
    _folder: tempfile::TempDir,
    path: String,
}

fn set(keys: Vec<serde_json::Value>) -> Set {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    Set { path: path.display().to_string(), _folder: folder }
}

fn all_keys() -> Set {
    set(all().iter().map(|key| key.jwk()).collect())
}

/// A token by HMAC with any key at all.
fn hs256(key: &[u8], header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = keyed(key);
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[track_caller]
fn refused(verifier: &Verifier, token: &str) {
    assert_eq!(verifier.verify(token, now()), Err(Denied::Invalid), "{token}");
}

#[tokio::test]
async fn a_token_of_each_kind_of_key_lets_its_user_in() {
    let keys = all_keys();
    let both = AuthConfig { jwt_secret: SECRET.into(), ..config(&keys.path) };
    for verifier in [verifier(&keys.path), verifier_of(&both)] {
        for key in all() {
            let token = key.sign(
                &json!({ "alg": key.algorithm(), "kid": key.id }).to_string(),
                &claims(r#","roles":["user"]"#),
            );
            let access = verifier.verify(&token, now()).unwrap();
            assert_eq!(access.user.as_str(), "usr_1");
            let unnamed = key.sign(&json!({ "alg": key.algorithm() }).to_string(), &claims(""));
            assert!(verifier.verify(&unnamed, now()).is_ok(), "the only key of its kind");
        }
    }
    let own = hs256(SECRET.as_bytes(), r#"{"alg":"HS256","kid":"any"}"#, &claims(""));
    assert!(verifier_of(&both).verify(&own, now()).is_ok());
    refused(&verifier(&keys.path), &own);
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let keys = all_keys();
    let both = AuthConfig { jwt_secret: SECRET.into(), ..config(&keys.path) };
    for verifier in [verifier(&keys.path), verifier_of(&both)] {
        for key in all() {
            for form in key.public_forms().unwrap() {
                for header in [
                    json!({ "alg": "HS256", "kid": key.id }),
                    json!({ "alg": "HS256" }),
                    json!({ "alg": key.algorithm(), "kid": key.id }),
                ] {
                    refused(&verifier, &hs256(&form, &header.to_string(), &claims("")));
                }
            }
        }
        refused(&verifier, &hs256(b"", r#"{"alg":"HS256"}"#, &claims("")));
    }
}

#[tokio::test]
async fn a_key_signs_by_its_own_algorithm_alone() {
    let keys = all_keys();
    let verifier = verifier(&keys.path);
    for key in all() {
        for name in [
            "none", "nOnE", "NONE", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
            "ES256", "ES256K", "ES384", "EdDSA", "eddsa", "",
        ] {
            if name == key.algorithm() {
                continue;
            }
            for id in all().map(|key| &key.id) {
                let header = json!({ "alg": name, "kid": id }).to_string();
                refused(&verifier, &key.sign(&header, &claims("")));
            }
            refused(&verifier, &key.sign(&json!({ "alg": name }).to_string(), &claims("")));
        }
        let unsigned = key.sign(r#"{"alg":"none"}"#, &claims(""));
        refused(&verifier, &format!("{}.", unsigned.rsplit_once('.').unwrap().0));
    }
    let secret = AuthConfig { jwt_secret: SECRET.into(), ..AuthConfig::default() };
    let header = json!({ "alg": "RS256", "kid": RSA.id }).to_string();
    refused(&verifier_of(&secret), &RSA.sign(&header, &claims("")));
}

#[tokio::test]
async fn what_a_header_brings_itself_is_not_used() {
    let keys = all_keys();
    let spy = KeyServer::start(Behaviour::Status("404 Not Found")).await.unwrap();
    let verifier = verifier(&keys.path);
    let attacker = SigningKey::ed25519("attacker").unwrap();
    spy.becomes(Behaviour::keys(&[&attacker]));
    for brought in [
        json!({ "jwk": attacker.jwk() }),
        json!({ "jku": spy.url() }),
        json!({ "x5u": spy.url() }),
        json!({ "x5c": ["MIIB"] }),
        json!({ "kid": spy.url() }),
    ] {
        for id in ["ed-1", "attacker"] {
            let mut header = brought.clone();
            header["alg"] = json!("EdDSA");
            if header.get("kid").is_none() {
                header["kid"] = json!(id);
            }
            let token = attacker.sign(&header.to_string(), &claims(""));
            refused(&verifier, &token);
            verifier.learn(&token, now()).await;
            refused(&verifier, &token);
        }
    }
    assert_eq!(spy.requests(), 0);
}

#[tokio::test]
async fn extensions_and_strange_headers_are_refused() {
    let keys = all_keys();
    let verifier = verifier(&keys.path);
    for key in all() {
        let (name, id) = (key.algorithm(), &key.id);
        for extra in [
            r#","crit":["exp"]"#,
            r#","b64":false"#,
            r#","zip":"DEF""#,
            r#","typ":"JWE""#,
            r#","typ":1"#,
            r#","alg":"none""#,
            &format!(r#","alg":"{name}""#),
            r#","kid":"other""#,
        ] {
            let header = format!(r#"{{"alg":"{name}","kid":"{id}"{extra}}}"#);
            refused(&verifier, &key.sign(&header, &claims("")));
        }
        let strange = [
            "../../dev/null".to_owned(),
            "' OR 1=1--".to_owned(),
            "http://127.0.0.1:1/".to_owned(),
            "x".repeat(10 * 1024),
            String::new(),
            id.to_uppercase(),
            format!("{id}\u{0}"),
        ];
        for kid in strange {
            let header = json!({ "alg": name, "kid": kid }).to_string();
            refused(&verifier, &key.sign(&header, &claims("")));
        }
        for kid in [json!(1), json!(null), json!([id]), json!({})] {
            let header = json!({ "alg": name, "kid": kid }).to_string();
            refused(&verifier, &key.sign(&header, &claims("")));
        }
    }
}

#[tokio::test]
async fn a_signature_is_right_in_every_bit_and_has_one_spelling() {
    let keys = all_keys();
    let verifier = verifier(&keys.path);
    for key in all() {
        let token = key.token(&serde_json::from_str(&claims("")).unwrap());
        assert!(verifier.verify(&token, now()).is_ok());
        let (signed, text) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        let with = |bytes: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            refused(&verifier, &with(&flipped));
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        let before = [&[0], bytes.as_slice()].concat();
        for wrong in [&bytes[1..], &bytes[..bytes.len() - 1], &[], &longer, &before] {
            refused(&verifier, &with(wrong));
        }
        refused(&verifier, &with(&vec![0; bytes.len()]));
        refused(&verifier, &with(&vec![0xff; bytes.len()]));
        refused(&verifier, &format!("{signed}.{}", URL_SAFE.encode(&bytes)).replace("==", "=="));
        let (header, body) = signed.split_once('.').unwrap();
        for parts in [
            format!("{header}.{body}"),
            format!("{token}.{text}"),
            format!("{header}.{body}.{text}.{text}.{text}"),
            format!("{header}..{text}"),
            format!(".{body}.{text}"),
            format!("{token} "),
            format!("{header}=.{body}.{text}"),
        ] {
            refused(&verifier, &parts);
        }
    }
}

#[tokio::test]
async fn numbers_of_an_elliptic_signature_are_within_the_curve_order() {
    let keys = all_keys();
    let verifier = verifier(&keys.path);
    let token = P256.token(&serde_json::from_str(&claims("")).unwrap());
    let (signed, text) = token.rsplit_once('.').unwrap();
    let right = URL_SAFE_NO_PAD.decode(text).unwrap();
    let order = hex_bytes("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let (r, s) = right.split_at(32);
    let zero = [0; 32];
    for (r, s) in [
        (zero.as_slice(), zero.as_slice()),
        (&zero, s),
        (r, &zero),
        (&order, s),
        (r, &order),
        (&[0xff; 32], &[0xff; 32]),
    ] {
        let wrong = URL_SAFE_NO_PAD.encode([r, s].concat());
        refused(&verifier, &format!("{signed}.{wrong}"));
    }
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[tokio::test]
async fn claims_are_read_as_strictly_as_with_a_secret() {
    let keys = all_keys();
    let verifier = verifier(&keys.path);
    let at = |seconds: i64| now().unix_timestamp() + seconds;
    let header = json!({ "alg": "EdDSA", "kid": ED25519.id }).to_string();
    for wrong in [
        r#"{"aud":"studio-webhooks","sub":"usr_1"}"#.to_owned(),
        r#"{"aud":"studio-webhooks","sub":"usr_1","exp":"1870000000"}"#.to_owned(),
        r#"{"aud":"studio-webhooks","sub":"usr_1","exp":1e300}"#.to_owned(),
        r#"{"aud":"studio-webhooks","sub":"usr_1","exp":-1}"#.to_owned(),
        r#"{"aud":"studio-webhooks","sub":"usr_1","exp":NaN}"#.to_owned(),
        format!(r#"{{"aud":"studio-webhooks","sub":"usr_1","exp":{}.5}}"#, at(600)),
        claims(&format!(r#","nbf":{}"#, at(90))),
        claims(&format!(r#","iat":{}"#, at(90))),
        claims(r#","type":"refresh""#),
        claims(r#","type":"id""#),
        claims(r#","sub":"usr_2""#),
        claims(&format!(r#","exp":{}"#, at(600))),
        format!(r#"{{"aud":"studio-webhooks","exp":{}}}"#, at(600)),
        format!(r#"{{"aud":"studio-webhooks","sub":"","exp":{}}}"#, at(600)),
        format!(r#"{{"aud":"studio-webhooks","sub":7,"exp":{}}}"#, at(600)),
        format!(r#"{{"aud":"studio-webhooks","sub":["usr_1"],"exp":{}}}"#, at(600)),
        format!(r#"{{"aud":"studio-webhooks","sub":"a\u0000b","exp":{}}}"#, at(600)),
        format!(
            r#"{{"aud":"studio-webhooks","sub":"{}","exp":{}}}"#,
            "x".repeat(1_000_000),
            at(600)
        ),
    ] {
        refused(&verifier, &ED25519.sign(&header, &wrong));
    }
    let ended = |seconds: i64| {
        let claims = json!({ "sub": "usr_1", "aud": AUDIENCE, "exp": at(-seconds) });
        verifier.verify(&ED25519.token(&claims), now())
    };
    assert!(matches!(ended(61), Err(Denied::Expired(_))));
    assert!(ended(20).is_ok(), "within the leeway of 30 s");
    for roles in [r#","roles":"admin""#, r#","roles":["emperor"]"#, r#","roles":[1,"admin"]"#] {
        let access = verifier.verify(&ED25519.sign(&header, &claims(roles)), now()).unwrap();
        assert!(!access.roles.can_write() && !access.roles.is_admin(), "{roles}");
    }
}

#[tokio::test]
async fn issuer_and_audience_are_enforced_for_public_keys_too() {
    let keys = all_keys();
    let named =
        AuthConfig { issuer: "studio".into(), audience: "hooks".into(), ..config(&keys.path) };
    let verifier = verifier_of(&named);
    let header = json!({ "alg": "ES256", "kid": P256.id }).to_string();
    for right in [r#","iss":"studio","aud":"hooks""#, r#","iss":"studio","aud":["x","hooks"]"#] {
        assert!(verifier.verify(&P256.sign(&header, &claims(right)), now()).is_ok(), "{right}");
    }
    for wrong in ["", r#","iss":"x","aud":"hooks""#, r#","iss":"studio","aud":["x"]"#] {
        refused(&verifier, &P256.sign(&header, &claims(wrong)));
    }
}

#[tokio::test]
async fn keys_for_something_else_open_nothing() {
    let small = SigningKey::rsa("small", 1_024);
    // Ring itself refuses to load one that small; it is refused all the more.
    assert!(small.is_err());
    let mut for_encryption = ED25519.jwk();
    for_encryption["use"] = json!("enc");
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let symmetric = json!({ "kty": "oct", "k": secret, "kid": "oct-1", "alg": "HS256" });
    let keys = set(vec![for_encryption, symmetric, P256.jwk()]);
    let verifier = verifier(&keys.path);
    refused(&verifier, &ED25519.token(&serde_json::from_str(&claims("")).unwrap()));
    for header in [r#"{"alg":"HS256","kid":"oct-1"}"#, r#"{"alg":"HS256"}"#] {
        refused(&verifier, &hs256(SECRET.as_bytes(), header, &claims("")));
    }
}

#[tokio::test]
async fn a_key_set_without_an_audience_stops_the_start() {
    let keys = all_keys();
    for secret in ["", SECRET] {
        let open =
            AuthConfig { audience: String::new(), jwt_secret: secret.into(), ..config(&keys.path) };
        let error = Verifier::new(&open).unwrap_err();
        assert_eq!(error.key, "auth.audience", "{error}");
        assert!(error.message.contains("auth.jwks"), "{error}");
    }
}

#[tokio::test]
async fn a_token_of_another_kind_is_refused_although_an_issuer_we_trust_signed_it() {
    let keys = all_keys();
    let verifier = verifier(&keys.path);
    let header = |typ: &str| json!({ "alg": "EdDSA", "kid": ED25519.id, "typ": typ }).to_string();
    for right in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        let token = ED25519.sign(&header(right), &claims(""));
        assert!(verifier.verify(&token, now()).is_ok(), "{right}");
    }
    for wrong in [
        "logout+jwt",
        "dpop+jwt",
        "id+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "application/dpop+jwt",
        "rt+jwt",
        "",
    ] {
        refused(&verifier, &ED25519.sign(&header(wrong), &claims("")));
    }
    for claim in [
        r#","nonce":"n""#,
        r#","nonce":null"#,
        r#","at_hash":"h""#,
        r#","c_hash":"h""#,
        r#","s_hash":"h""#,
        r#","events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#,
        // Bound to a key of the sender's, which would have to be proven.
        r#","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#,
        r#","htm":"POST""#,
        r#","htu":"https://studio.example/""#,
        r#","token_introspection":{}"#,
        // As Keycloak and Cognito say it.
        r#","typ":"ID""#,
        r#","typ":"Refresh""#,
        r#","typ":"Logout""#,
        r#","typ":7"#,
        r#","token_use":"id""#,
        r#","token_use":["access"]"#,
        r#","type":"id""#,
    ] {
        refused(&verifier, &ED25519.sign(&header("JWT"), &claims(claim)));
    }
    for claim in [r#","typ":"Bearer""#, r#","token_use":"access""#, r#","auth_time":1,"azp":"app""#]
    {
        let token = ED25519.sign(&header("JWT"), &claims(claim));
        assert!(verifier.verify(&token, now()).is_ok(), "{claim}");
    }
}

#[tokio::test]
async fn a_token_without_roles_that_a_public_key_signed_reads_only() {
    let keys = all_keys();
    let both = AuthConfig { jwt_secret: SECRET.into(), ..config(&keys.path) };
    let verifier = verifier_of(&both);
    let header = json!({ "alg": "ES256", "kid": P256.id }).to_string();
    let roles = |token: &str| verifier.verify(token, now()).unwrap().roles;
    let foreign = roles(&P256.sign(&header, &claims("")));
    assert!(foreign.can_read() && !foreign.can_write() && !foreign.is_admin());
    assert!(roles(&P256.sign(&header, &claims(r#","roles":["user"]"#))).can_write());
    let own = hs256(SECRET.as_bytes(), r#"{"alg":"HS256"}"#, &claims(""));
    assert!(roles(&own).can_write(), "Studio's own have no other way to say it");
}
