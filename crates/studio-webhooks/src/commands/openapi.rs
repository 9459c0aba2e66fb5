//! `studio-webhooks openapi`

use std::io::Write;
use std::process::ExitCode;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(api::openapi().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
