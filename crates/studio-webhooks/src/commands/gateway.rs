//! `studio-webhooks gateway`

use std::process::ExitCode;

use gateway::Gateway;

use crate::commands::parts;
use crate::config::Settings;

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    parts::serve("gateway", s, |stop| async move {
        let verifier = parts::verifier(s)?;
        let broker = parts::broker(s).await?;
        let listener = parts::listen("gateway.bind", &s.gateway.bind)?;
        tracing::info!("the gateway listens on http://{}", listener.local_addr()?);
        let gateway = Gateway::start(&s.gateway, broker.clone(), verifier);
        gateway::serve(gateway, listener, stop).await?;
        broker.close().await;
        Ok(())
    })
}
