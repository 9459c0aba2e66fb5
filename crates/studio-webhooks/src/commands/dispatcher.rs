//! `studio-webhooks dispatcher`

use std::process::ExitCode;

use access::SignOuts;
use dispatcher::{Parts, Watch};
use operate::Served;

use crate::commands::operators::Operators;
use crate::commands::parts;
use crate::config::Settings;
use crate::sign_outs::Keeper;

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    let runtime = parts::runtime_of(s.dispatcher.threads)?;
    parts::serve_on(runtime, "dispatcher", s, |stop| async move {
        let sender = parts::sender(s)?;
        let broker = parts::broker(s).await?;
        let store = parts::ready_store(s, &stop).await?;
        // It lets nobody in, and answers gateways that ask.
        let sign_outs = SignOuts::new(s.auth.longest_token_life);
        Keeper::new(&store, &broker, &sign_outs).start(&stop).await;
        let listener = parts::listen("dispatcher.bind", &s.dispatcher.bind)?;
        tracing::info!("the dispatcher works; health on http://{}", listener.local_addr()?);
        let watch = Watch::new(store.clone(), broker.clone());
        let served = Served { services: vec![watch.clone()], doors: Vec::new(), hosts: Vec::new() };
        let operators = Operators::serve(s, Some(listener), served, &broker)?;
        let work = Parts {
            store: store.clone(),
            broker: broker.clone(),
            sender,
            schedule: parts::schedule(s),
            retention: s.database.retention,
            audit_retention: s.database.audit_retention,
            config: s.dispatcher.clone(),
            watch,
        };
        dispatcher::run(work, stop).await;
        operators.end().await;
        broker.close().await;
        store.close().await;
        Ok(())
    })
}
