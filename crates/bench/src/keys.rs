//! Keys that sign tokens, made for a test and gone with it, and tokens signed with them as an
//! attacker would: any header, any claims.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

/// A key pair with a name.
pub struct SigningKey {
    /// The `kid`.
    pub id: String,
    pair: Pair,
    /// In DER.
    private: Vec<u8>,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// An RSA key of this size, made by the command `openssl`.
    ///
    /// # Errors
    /// When the command is missing or fails.
    pub fn rsa(id: &str, bits: u32) -> anyhow::Result<Self> {
        let size = format!("rsa_keygen_bits:{bits}");
        let made =
            openssl(&["genpkey", "-algorithm", "RSA", "-outform", "DER", "-pkeyopt", &size])?;
        // Without the PKCS #8 around it.
        let pair = RsaKeyPair::from_der(&made).map_err(unmade)?;
        Ok(Self { id: id.into(), pair: Pair::Rsa(pair), private: made })
    }

    /// A key of the curve P-256.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn p256(id: &str) -> anyhow::Result<Self> {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(unmade)?;
        let pair = EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).map_err(unmade)?;
        Ok(Self { id: id.into(), pair: Pair::P256(pair), private: made.as_ref().to_vec() })
    }

    /// A key of Ed25519.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn ed25519(id: &str) -> anyhow::Result<Self> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(unmade)?;
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).map_err(unmade)?;
        Ok(Self { id: id.into(), pair: Pair::Ed25519(pair), private: made.as_ref().to_vec() })
    }

    /// The name of the one algorithm that it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key as a JSON Web Key.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({ "kty": "RSA", "n": text(&public.n), "e": text(&public.e) })
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (text(&point[1..33]), text(&point[33..]));
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key in the forms that could be taken for a secret: PEM, PEM without its last
    /// line break, DER, JWK, and the numbers themselves.
    ///
    /// # Errors
    /// When the command `openssl` is missing or fails.
    pub fn public_forms(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        // SubjectPublicKeyInfo: what the key is for (RFC 5480, RFC 8410), then the key.
        let der = match &self.pair {
            Pair::Rsa(_) => {
                let convert = ["pkey", "-inform", "DER", "-pubout", "-outform", "DER"];
                openssl_with(&convert, &self.private)?
            }
            Pair::P256(pair) => [P256_PREFIX.as_slice(), pair.public_key().as_ref()].concat(),
            Pair::Ed25519(pair) => [ED25519_PREFIX.as_slice(), pair.public_key().as_ref()].concat(),
        };
        let pem = pem(&der);
        let trimmed = pem.trim_end().as_bytes().to_vec();
        let numbers = match &self.pair {
            Pair::Rsa(pair) => RsaPublicKeyComponents::<Vec<u8>>::from(pair.public()).n,
            Pair::P256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        };
        let jwk = self.jwk().to_string().into_bytes();
        Ok(vec![pem.into_bytes(), trimmed, der, jwk, numbers])
    }

    /// A token with these claims, rightly signed.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.id });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token of these very texts, signed.
    #[must_use]
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature)
                    .expect("the signature has the length of the modulus");
                signature
            }
            Pair::P256(pair) => {
                let made = pair.sign(&random, signed).expect("the system has random numbers");
                made.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(signed).as_ref().to_vec(),
        }
    }
}

const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

const ED25519_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

fn unmade(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("no key can be made: {error}")
}

fn openssl(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    openssl_with(arguments, &[])
}

fn openssl_with(arguments: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input))?;
    let output = child.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "openssl {} failed", arguments.join(" "));
    Ok(output.stdout)
}
