//! Names to addresses, through the guard: what this returns is what is connected to, so that
//! nothing can change between the check and the connection.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::Guard;

/// A name of which an address is special. Found again in the chain of a failed attempt.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the name resolves to a private, local or reserved address")]
pub(crate) struct Blocked;

/// The name has no address. Found again in the chain of a failed attempt.
#[derive(Debug, thiserror::Error)]
#[error("the name could not be resolved: {0}")]
pub(crate) struct Unresolved(String);

/// The system's resolver behind the guard.
pub(crate) struct GuardedResolver {
    guard: Guard,
}

impl GuardedResolver {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|e| Unresolved(e.to_string()))?
                .collect();
            if found.is_empty() {
                return Err(Unresolved("no addresses".into()).into());
            }
            // One bad address condemns the name: which one is connected to is not ours to know.
            if found.iter().any(|address| !guard.allows(address.ip())) {
                return Err(Blocked.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
