//! `studio-webhooks gateway`

use std::process::ExitCode;
use std::sync::Arc;

use gateway::Gateway;
use operate::Served;

use crate::commands::operators::{self, Operators};
use crate::commands::parts;
use crate::config::Settings;

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    parts::serve("gateway", s, |stop| async move {
        let verifier = parts::verifier(s)?;
        let broker = parts::broker(s).await?;
        let listener = parts::listen("gateway.bind", &s.gateway.bind)?;
        let operators = operators::listen(s, operators::WITH_GATEWAY)?;
        tracing::info!("the gateway listens on http://{}", listener.local_addr()?);
        let gateway = Gateway::start(&s.gateway, broker.clone(), verifier);
        let served = Served {
            services: vec![Arc::new(gateway.clone())],
            doors: vec![("gateway", gateway.door())],
            hosts: Vec::new(),
        };
        let operators = Operators::serve(s, operators, served, &broker)?;
        gateway::serve(gateway, listener, stop).await?;
        operators.end().await;
        broker.close().await;
        Ok(())
    })
}
