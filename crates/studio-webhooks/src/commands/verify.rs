//! `studio-webhooks verify`

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domain::Secret;

/// Check the signature of a delivery.
///
/// Exit code 0 when the X-Sentimatrix-Signature is right for the body, 1 when not.
///
/// Example: studio-webhooks verify --signature sha256=… body.json
#[derive(Args)]
pub(crate) struct Verify {
    /// The value of the header X-Sentimatrix-Signature.
    #[arg(long)]
    signature: String,
    /// The webhook's secret. Better given as an environment variable: others can read the
    /// arguments of a process.
    #[arg(long, env = "STUDIO_WEBHOOK_SECRET", hide_env_values = true)]
    secret: String,
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
        if domain::verify(&Secret::new(self.secret), &body, &self.signature) {
            println!("The signature is right: the body came from Studio and is unchanged.");
            return Ok(ExitCode::SUCCESS);
        }
        println!(
            "The signature is wrong for these {} bytes: another secret, or the body was changed \
             (parsed and written again, say).",
            body.len()
        );
        Ok(ExitCode::from(1))
    }
}
