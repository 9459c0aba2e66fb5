//! Names to addresses, through the guard: what this returns is what is connected to, so that
//! nothing can change between the check and the connection.
//!
//! Answers are kept for as long as their TTL says, within limits. The guard looks at them every
//! time, kept ones too.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::failure::{BoxError, is_exhausted};
use crate::{DeliveryConfig, DeliveryConfigError, Guard};

/// Names whose answers are kept, at most (twice: IPv4 and IPv6).
const KEPT: u64 = 8_192;

/// The shortest and the longest that an answer is kept, whatever its TTL says.
const KEPT_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The same for "there is no such name".
const MISSING_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A name of which an address is special. Found again in the chain of a failed attempt.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the name resolves to a private, local or reserved address")]
pub(crate) struct Blocked;

/// The name has no address. Found again in the chain of a failed attempt.
#[derive(Debug, thiserror::Error)]
#[error("the name could not be resolved: {0}")]
pub(crate) struct Unresolved(String);

/// There was no file descriptor to ask with. Found again in the chain of a failed attempt.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no file descriptor to resolve the name with")]
pub(crate) struct Exhausted;

/// A resolver behind the guard.
#[derive(Clone)]
pub(crate) struct GuardedResolver(Arc<Shared>);

struct Shared {
    guard: Guard,
    resolver: TokioResolver,
    /// Less than connecting may take, so that a slow DNS is told from a slow endpoint.
    longest: Duration,
}

impl GuardedResolver {
    /// Asks the servers of `config`, or the system's.
    pub(crate) fn new(config: &DeliveryConfig, guard: &Guard) -> Result<Self, DeliveryConfigError> {
        let guard = guard.clone();
        let mut builder = builder(config)?;
        limit(builder.options_mut());
        let resolver = builder.build().map_err(|e| wrong(format!("cannot be used: {e}")))?;
        let longest = config.connect_timeout * 4 / 5;
        Ok(Self(Arc::new(Shared { guard, resolver, longest })))
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let found = shared.addresses(name.as_str()).await?;
            // One bad address condemns the name: which one is connected to is not ours to know.
            if found.iter().any(|address| !shared.guard.allows(address.ip())) {
                return Err(Blocked.into());
            }
            Ok(found.into_iter())
        })
    }
}

impl Shared {
    async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, BoxError> {
        // A whole name: the machine's own search domains are no part of a user's URL.
        let whole = format!("{}.", name.trim_end_matches('.'));
        let asking = self.resolver.lookup_ip(whole);
        let found = tokio::time::timeout(self.longest, asking)
            .await
            .map_err(|_| Unresolved("no answer in time".to_owned()))?
            .map_err(|e| match e {
                NetError::Io(io) if is_exhausted(io.as_ref()) => BoxError::from(Exhausted),
                other => Unresolved(other.to_string()).into(),
            })?;
        let found: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        if found.is_empty() {
            return Err(Unresolved("no addresses".to_owned()).into());
        }
        Ok(found)
    }
}

fn builder(
    config: &DeliveryConfig,
) -> Result<ResolverBuilder<TokioRuntimeProvider>, DeliveryConfigError> {
    if config.dns_servers.is_empty() {
        return TokioResolver::builder_tokio().map_err(|e| {
            wrong(format!("the system's servers (/etc/resolv.conf) are unknown: {e}"))
        });
    }
    let servers: Vec<NameServerConfig> =
        config.dns_servers.iter().map(|text| server(text)).collect::<Result<_, _>>()?;
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
}

fn server(text: &str) -> Result<NameServerConfig, DeliveryConfigError> {
    let address: SocketAddr = text
        .parse()
        .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| wrong(format!("expected addresses such as 10.0.0.2:53, found {text:?}")))?;
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    Ok(NameServerConfig::new(address.ip(), true, connections.to_vec()))
}

fn limit(options: &mut ResolverOpts) {
    // All of a name's addresses, because all of them are checked.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = options.timeout.min(Duration::from_secs(2));
    options.cache_size = KEPT;
    (options.positive_min_ttl, options.positive_max_ttl) = (Some(KEPT_FOR.0), Some(KEPT_FOR.1));
    (options.negative_min_ttl, options.negative_max_ttl) =
        (Some(MISSING_FOR.0), Some(MISSING_FOR.1));
}

fn wrong(message: String) -> DeliveryConfigError {
    DeliveryConfigError { key: "delivery.dns_servers", message }
}
