//! `studio-webhooks demo`: everything in one process, and one event's way through it, shown.

mod keys;
mod receiver;
mod tour;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::commands::{all, operators, parts};
use crate::config::Settings;

/// Serve everything in this process and show one event's way through it.
///
/// Makes keys of its own and goes on serving until Ctrl-C. What it keeps is found again the next
/// time.
#[derive(Args)]
pub(crate) struct Demo {
    /// Where keys and data are kept.
    #[arg(long, default_value = ".studio-webhooks", value_name = "FOLDER")]
    data: PathBuf,
}

impl Demo {
    pub(crate) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let again = self.data.exists();
        let keys = keys::find_or_make(&self.data)?;
        let mut settings = Settings::load(config)?;
        keys.apply(&mut settings, &self.data);
        settings.telemetry.filter = "warn".into();
        let s = &settings;
        parts::serve("demo", s, |stop| async move {
            let opened = all::Opened::open(s, &stop).await?;
            let listener = parts::listen("api.bind", &s.api.bind)?;
            let operators = operators::listen(s, operators::WITH_API)?;
            let address = listener.local_addr()?;
            let metrics = operators.as_ref().map(TcpListener::local_addr).transpose()?;
            tour::greet(&self.data, again);
            let serving = opened.serve(s, listener, operators, stop.clone());
            let touring = async {
                let tour = tour::Tour::new(s, address, metrics)?;
                let shown = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    shown = tour.run() => shown,
                };
                if shown.is_err() {
                    // Nothing to go on serving for: the error is the answer.
                    stop.cancel();
                }
                shown
            };
            let (served, toured) = tokio::join!(serving, touring);
            served?;
            toured?;
            println!("\nStopped. `make run` finds everything again in {}.", self.data.display());
            Ok(())
        })
    }
}
