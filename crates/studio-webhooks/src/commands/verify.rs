//! `studio-webhooks verify`

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domain::{PublicKey, Secret};

/// Check the signature of a delivery.
///
/// Exit code 0 when the X-Sentimatrix-Signature is right for the body, 1 when not. With a public key
/// it is the Webhook-Signature of a webhook that signs with Ed25519.
///
/// Examples: studio-webhooks verify --signature sha256=… body.json
///
/// studio-webhooks verify --public-key whpk_… --id evt_… --timestamp 1770033600 --signature v1a,…
/// body.json
#[derive(Args)]
pub(crate) struct Verify {
    /// The value of the header X-Sentimatrix-Signature; with a public key, of Webhook-Signature.
    #[arg(long)]
    signature: String,
    /// The webhook's public key (whpk_…), instead of the secret.
    #[arg(long, requires_all = ["id", "timestamp"])]
    public_key: Option<PublicKey>,
    /// The value of the header Webhook-Id.
    #[arg(long, requires = "public_key")]
    id: Option<String>,
    /// The value of the header Webhook-Timestamp, unix seconds.
    #[arg(long, requires = "public_key")]
    timestamp: Option<i64>,
    /// The webhook's secret. Better given as an environment variable: others can read the
    /// arguments of a process.
    #[arg(
        long,
        env = "STUDIO_WEBHOOK_SECRET",
        hide_env_values = true,
        required_unless_present = "public_key"
    )]
    secret: Option<String>,
    /// The body as it was received, byte for byte; standard input when left out.
    #[arg(value_name = "FILE")]
    body: Option<PathBuf>,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let body = match &self.body {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => {
                let mut body = Vec::new();
                std::io::stdin().read_to_end(&mut body).context("cannot read standard input")?;
                body
            }
        };
        if self.is_right(&body) {
            println!("The signature is right: the body came from Studio and is unchanged.");
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "The signature is wrong for these {} bytes: another secret or key, or the body was \
             changed (parsed and written again, say).",
            body.len()
        );
        Ok(ExitCode::from(1))
    }

    fn is_right(&self, body: &[u8]) -> bool {
        match (&self.public_key, &self.id, self.timestamp, &self.secret) {
            (Some(key), Some(id), Some(at), _) => key.verifies(id, at, body, &self.signature),
            (_, _, _, Some(secret)) => domain::verify(&Secret::new(secret), body, &self.signature),
            // The arguments are checked when they are read: one of the two is there.
            _ => false,
        }
    }
}
