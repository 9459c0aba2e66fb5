//! `studio-webhooks dispatcher`

use std::process::ExitCode;

use dispatcher::Parts;

use crate::commands::parts;
use crate::config::Settings;

pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let s = &settings;
    let runtime = parts::runtime_of(s.dispatcher.threads)?;
    parts::serve_on(runtime, "dispatcher", s, |stop| async move {
        let sender = parts::sender(s)?;
        let broker = parts::broker(s).await?;
        let store = parts::ready_store(s, &stop).await?;
        let listener = parts::listen("dispatcher.bind", &s.dispatcher.bind)?;
        tracing::info!("the dispatcher works; health on http://{}", listener.local_addr()?);
        // Health outlives the work: a dispatcher that finishes what is under way is alive.
        let health_stop = tokio_util::sync::CancellationToken::new();
        let health = tokio::spawn(dispatcher::serve_health(
            store.clone(),
            broker.clone(),
            listener,
            health_stop.clone(),
        ));
        let work = Parts {
            store: store.clone(),
            broker: broker.clone(),
            sender,
            schedule: parts::schedule(s),
            retention: s.database.retention,
            audit_retention: s.database.audit_retention,
            config: s.dispatcher.clone(),
        };
        dispatcher::run(work, stop).await;
        broker.close().await;
        store.close().await;
        health_stop.cancel();
        health.await??;
        Ok(())
    })
}
