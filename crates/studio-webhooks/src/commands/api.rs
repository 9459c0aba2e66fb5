//! `studio-webhooks api`

use std::process::ExitCode;
use std::sync::Arc;

use api::Api;
use operate::Served;

use crate::commands::operators::{self, Operators};
use crate::commands::parts;
use crate::config::Settings;
use crate::sign_outs::Keeper;

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    parts::serve("api", s, |stop| async move {
        let verifier = parts::verifier(s)?;
        let sender = parts::sender(s)?;
        let broker = parts::broker(s).await?;
        let store = parts::ready_store(s, &stop).await?;
        Keeper::new(&store, &broker, verifier.sign_outs()).start(&stop).await;
        let listener = parts::listen("api.bind", &s.api.bind)?;
        let operators = operators::listen(s, operators::WITH_API)?;
        tracing::info!("the API listens on http://{}", listener.local_addr()?);
        let api = Api::new(s.api.clone(), store.clone(), broker.clone(), sender, verifier);
        let served = Served {
            services: vec![Arc::new(api.clone())],
            doors: vec![("api", api.door())],
            hosts: Vec::new(),
        };
        let operators = Operators::serve(s, operators, served, &broker)?;
        api::serve(api, listener, stop).await?;
        operators.end().await;
        broker.close().await;
        store.close().await;
        Ok(())
    })
}
