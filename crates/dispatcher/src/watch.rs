//! What operators see of a dispatcher: whether it can work, and what is under way.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use broker::{Health, SharedBroker};
use operate::{Readiness, Watched};
use serde_json::{Value, json};
use store::Store;

use crate::Context;

/// Longest wait for the database's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A dispatcher, seen from outside: before it runs, while it does, and while it stops.
pub struct Watch {
    store: Store,
    broker: SharedBroker,
    work: OnceLock<Weak<Context>>,
}

impl Watch {
    /// The watch of a dispatcher with this store and this broker.
    #[must_use]
    pub fn new(store: Store, broker: SharedBroker) -> Arc<Self> {
        Arc::new(Self { store, broker, work: OnceLock::new() })
    }

    /// Watches the work that begins.
    pub(crate) fn begin(&self, context: &Arc<Context>) {
        // A dispatcher begins once.
        self.work.set(Arc::downgrade(context)).ok();
    }
}

#[async_trait]
impl Watched for Watch {
    fn name(&self) -> &'static str {
        "dispatcher"
    }

    async fn readiness(&self) -> Readiness {
        let store = match tokio::time::timeout(PATIENCE, self.store.ping()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the database does not answer".to_owned()),
        };
        let broker = match self.broker.health() {
            Health::Ready => None,
            Health::Away(reason) => Some(reason),
        };
        Readiness::of([("store", store), ("broker", broker)])
    }

    fn waiting(&self) -> Value {
        let Some(context) = self.work.get().and_then(Weak::upgrade) else {
            return json!({});
        };
        let mut all = context.slots.profile();
        all["deliveries"] = json!(context.tasks.len());
        all["backlogs"] = json!(context.backlogs.held());
        all["early_deliveries_free"] = json!(context.patience.available_permits());
        all
    }
}
