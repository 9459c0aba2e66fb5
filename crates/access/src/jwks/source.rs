//! Where a key set comes from: a file, or a server that is asked within bounds.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use super::keys::PublicKeys;
use crate::{AccessError, AuthConfig};

/// Largest set, bytes.
const LARGEST: usize = 256 * 1024;

/// Longest time to read it.
const TIMEOUT: Duration = Duration::from_secs(5);

const EXPECTED: &str = "expected the https URL of a JSON Web Key Set, or the path of a file";

/// A place that a key set is read from.
pub(crate) enum Source {
    File(PathBuf),
    Server(reqwest::Client, Url),
}

impl Source {
    /// The place that the settings name, if any.
    ///
    /// # Errors
    /// When it is no place, or a connection to it would not be safe.
    pub(crate) fn of(config: &AuthConfig) -> Result<Option<Self>, AccessError> {
        let place = config.jwks.expose().trim();
        if place.is_empty() {
            return Ok(None);
        }
        if !place.contains("://") {
            return Ok(Some(Self::File(place.into())));
        }
        // Not the URL, which may hold a credential; the parser's error repeats nothing of it.
        let url = Url::parse(place).map_err(|e| AccessError::jwks(format!("{EXPECTED}: {e}")))?;
        match url.scheme() {
            "https" => {}
            "http" if config.jwks_allow_http || is_loopback(&url) => {}
            "http" => {
                let message = "expected https: whoever is on the way could put their own key in; \
                               auth.jwks_allow_http allows it";
                return Err(AccessError::jwks(message));
            }
            _ => return Err(AccessError::jwks(EXPECTED)),
        }
        Ok(Some(Self::Server(client()?, url)))
    }

    pub(crate) const fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// The keys of a file, at the start; `None` for a server.
    ///
    /// # Errors
    /// When it cannot be read or holds no usable key.
    pub(crate) fn read_file(&self) -> Result<Option<PublicKeys>, AccessError> {
        match self {
            Self::File(path) => of_file(path).map(Some).map_err(AccessError::jwks),
            Self::Server(..) => Ok(None),
        }
    }

    /// The keys, as they are now; the error says why there are none.
    pub(crate) async fn read(&self) -> Result<PublicKeys, String> {
        match self {
            Self::File(path) => of_file(path),
            Self::Server(client, url) => of_server(client, url).await,
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn client() -> Result<reqwest::Client, AccessError> {
    // Whoever came first has chosen the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    #[expect(clippy::disallowed_methods, reason = "the operator names the server, not a user")]
    let builder = reqwest::Client::builder();
    builder
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // Minutes lie between two readings.
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|e| AccessError::jwks(format!("no HTTPS client can be made: {e}")))
}

fn of_file(path: &Path) -> Result<PublicKeys, String> {
    // What is no file may be something else that was put here by mistake: it is not repeated.
    let file = std::fs::File::open(path)
        .map_err(|e| format!("{EXPECTED}, and the file that it names cannot be read: {e}"))?;
    let reason = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = Vec::new();
    file.take(LARGEST as u64 + 1).read_to_end(&mut text).map_err(reason)?;
    if text.len() > LARGEST {
        return Err(format!("{}: has more than {LARGEST} bytes", path.display()));
    }
    PublicKeys::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
}

async fn of_server(client: &reqwest::Client, url: &Url) -> Result<PublicKeys, String> {
    let host = url.host_str().unwrap_or_default();
    // Without the URL, which may hold a credential.
    let reason = |e: reqwest::Error| format!("{host}: {}", causes(&e.without_url()));
    let mut answer = client.get(url.clone()).send().await.map_err(reason)?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(format!("{host} answered {}", answer.status()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reason)? {
        if text.len() + chunk.len() > LARGEST {
            return Err(format!("{host} sends more than {LARGEST} bytes"));
        }
        text.extend_from_slice(&chunk);
    }
    PublicKeys::parse(&text).map_err(|e| format!("{host}: {e}"))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_comes_from_a_safe_place() {
        let of = |place: &str, allow_http| {
            let config = AuthConfig {
                jwks: place.into(),
                jwks_allow_http: allow_http,
                ..AuthConfig::default()
            };
            Source::of(&config).map(|source| source.is_some())
        };
        assert_eq!(of("", false), Ok(false));
        for right in [
            "https://keys.example/jwks.json",
            "http://127.0.0.1:1/jwks",
            "http://[::1]/jwks",
            "http://localhost/jwks",
            "/etc/studio/jwks.json",
            "jwks.json",
        ] {
            assert_eq!(of(right, false), Ok(true), "{right}");
        }
        for wrong in ["http://keys.example/", "http://127.0.0.1.example/", "ftp://a/", "https://"] {
            assert_eq!(of(wrong, false).unwrap_err().key, "auth.jwks", "{wrong}");
        }
        assert_eq!(of("http://keys.example/", true), Ok(true));
    }
}
