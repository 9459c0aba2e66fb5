//! All settings, from a file and from the environment. Each section is documented beside what
//! it configures; `docs/configuration.md` lists them.

mod sources;

use std::path::Path;

use access::AuthConfig;
use anyhow::anyhow;
use api::ApiConfig;
use broker::BrokerConfig;
use delivery::DeliveryConfig;
use dispatcher::DispatcherConfig;
use gateway::GatewayConfig;
use operate::OperateConfig;
use serde::de::DeserializeOwned;
use store::{DatabaseConfig, SecretsConfig};
use telemetry::TelemetryConfig;

/// Every section.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) database: DatabaseConfig,
    pub(crate) broker: BrokerConfig,
    pub(crate) auth: AuthConfig,
    pub(crate) secrets: SecretsConfig,
    pub(crate) api: ApiConfig,
    pub(crate) gateway: GatewayConfig,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) dispatcher: DispatcherConfig,
    pub(crate) telemetry: TelemetryConfig,
    pub(crate) operate: OperateConfig,
}

/// The names of the sections, to find the ones that do not exist.
const SECTIONS: [&str; 10] = [
    "database",
    "broker",
    "auth",
    "secrets",
    "api",
    "gateway",
    "delivery",
    "dispatcher",
    "telemetry",
    "operate",
];

impl Settings {
    /// Reads `file` (or the default one, if it is there) and the environment.
    ///
    /// # Errors
    /// One line that names the key and says what it expects.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let settings = Self::from_sections(&sources::read(file)?)?;
        settings.check()
    }

    fn from_sections(all: &::config::Config) -> anyhow::Result<Self> {
        let names = sources::names(all)?;
        if let Some(unknown) = names.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
            let expected = SECTIONS.join(", ");
            return Err(anyhow!("{unknown}: no such section of settings; there are {expected}"));
        }
        let mut broker: BrokerConfig = section(all, "broker")?;
        let delivery: DeliveryConfig = section(all, "delivery")?;
        broker.retry_delays.clone_from(&delivery.retry_delays);
        let api: ApiConfig = section(all, "api")?;
        let mut auth: AuthConfig = section(all, "auth")?;
        // 0 switches every rate limit off.
        auth.wrong_token_limit = if api.rate_limit == 0 { 0 } else { api.wrong_token_limit };
        let mut gateway: GatewayConfig = section(all, "gateway")?;
        gateway.trusted_proxies.clone_from(&api.trusted_proxies);
        gateway.unread_after = api.stalled_after;
        Ok(Self {
            database: section(all, "database")?,
            broker,
            auth,
            secrets: section(all, "secrets")?,
            api,
            gateway,
            delivery,
            dispatcher: section(all, "dispatcher")?,
            telemetry: section(all, "telemetry")?,
            operate: section(all, "operate")?,
        })
    }

    /// What serde cannot see.
    fn check(self) -> anyhow::Result<Self> {
        let delays = &self.delivery.retry_delays;
        if delays.is_empty() || delays.len() > 20 || delays.iter().any(std::time::Duration::is_zero)
        {
            let key = env_key("delivery.retry_delays");
            return Err(anyhow!(
                "{key}: expected 1 to 20 durations above zero such as 1m,5m,30m,2h"
            ));
        }
        for (key, duration) in [
            ("delivery.timeout", self.delivery.timeout),
            ("api.stalled_after", self.api.stalled_after),
        ] {
            if duration.is_zero() {
                return Err(anyhow!("{}: expected a duration above zero", env_key(key)));
            }
        }
        Ok(self)
    }
}

fn section<T: DeserializeOwned + Default>(all: &::config::Config, name: &str) -> anyhow::Result<T> {
    let Some(value) = sources::section(all, name)? else {
        return Ok(T::default());
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { name.to_owned() } else { format!("{name}.{path}") };
        anyhow!("{}: {}", env_key(&key), error.inner())
    })
}

/// `delivery.timeout (STUDIO__DELIVERY__TIMEOUT)`
pub(crate) fn env_key(key: &str) -> String {
    format!("{key} (STUDIO__{})", key.to_uppercase().replace('.', "__"))
}
