//! The one HTTP client: no redirects, no proxies from the environment, guarded names.

use std::sync::Arc;

use reqwest::Client;
use reqwest::redirect::Policy;

use crate::resolver::GuardedResolver;
use crate::{DeliveryConfig, DeliveryConfigError, Guard};

/// How every attempt introduces itself.
pub(crate) const USER_AGENT: &str =
    concat!("Sentimatrix-Studio-Webhooks/", env!("CARGO_PKG_VERSION"));

/// The client of every attempt.
///
/// # Errors
/// When TLS cannot be set up (no root certificates on the machine, say).
pub(crate) fn build(config: &DeliveryConfig, guard: &Guard) -> Result<Client, DeliveryConfigError> {
    // A second install is refused, and harmless: it is the same provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .dns_resolver(Arc::new(GuardedResolver::new(config, guard.clone())?))
        .user_agent(USER_AGENT)
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(config.idle_per_host)
        .pool_idle_timeout(config.idle_timeout)
        .tcp_nodelay(true)
        .http1_title_case_headers()
        .build()
        .map_err(|e| DeliveryConfigError {
            key: "delivery",
            message: format!("the HTTP client cannot be set up: {e}"),
        })
}
