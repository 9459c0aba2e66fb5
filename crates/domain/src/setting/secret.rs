//! Settings that are secret: nothing formats them, whatever reads, shows or refuses them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, Error};
use url::Url;

/// A setting that is secret as a whole: a key, or what tokens are signed with.
///
/// It has no `Display` and no `Serialize`, `Debug` says nothing of it, and what cannot be read as
/// one is refused without being repeated.
///
/// ```
/// # use domain::setting::SecretText;
/// let secret = SecretText::from("hunter2");
/// assert_eq!(format!("{secret:?}"), "SecretText([hidden])");
/// ```
///
/// ```compile_fail
/// # use domain::setting::SecretText;
/// println!("{}", SecretText::from("hunter2"));
/// ```
#[derive(Clone, Default)]
pub struct SecretText(SecretString);

impl SecretText {
    /// The secret: for using it, never for showing it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether nothing was set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText([hidden])")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text(d).map(Self::from)
    }
}

/// A setting that names a place, and may hold credentials: a URL with a user name, a password, or
/// a query with a key in it.
///
/// As secret as a [`SecretText`], but for [`SecretUrl::shown`], its safe part.
#[derive(Clone, Default)]
pub struct SecretUrl(SecretText);

impl SecretUrl {
    /// All of it: for connecting, never for showing it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether nothing was set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file that it names, where it begins with `scheme` and `://`. A path is no secret.
    ///
    /// ```
    /// # use domain::setting::SecretUrl;
    /// assert_eq!(SecretUrl::from("sqlite://a/b.db").file("sqlite"), Some("a/b.db"));
    /// assert_eq!(SecretUrl::from("postgres://host/name").file("sqlite"), None);
    /// ```
    #[must_use]
    pub fn file(&self, scheme: &str) -> Option<&str> {
        self.expose().strip_prefix(scheme)?.strip_prefix("://")
    }

    /// What operators may read of it: scheme, host and port; of a database and a broker the name
    /// after them, too. No user name, no password, no query, and of `http` no path, where some
    /// services have a key. What is no such URL is not shown at all.
    ///
    /// ```
    /// # use domain::setting::SecretUrl;
    /// let shown = |url: &str| SecretUrl::from(url).shown();
    /// assert_eq!(shown("postgres://me:hunter2@db:5432/studio?sslmode=x"), "postgres://db:5432/studio");
    /// assert_eq!(shown("https://keys.example/hunter2?token=hunter2"), "https://keys.example");
    /// assert_eq!(shown("postgres://me:hun/ter2@db/studio"), "a URL that is not shown");
    /// ```
    #[must_use]
    pub fn shown(&self) -> String {
        safe_part(self.expose().trim()).unwrap_or_else(|| "a URL that is not shown".to_owned())
    }
}

impl From<String> for SecretUrl {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for SecretUrl {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl([hidden])")
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text(d).map(Self::from)
    }
}

/// For `#[serde(deserialize_with)]`: secrets separated by commas, or a list in a file.
///
/// # Errors
/// When the value is neither; the error does not repeat it.
pub fn secrets<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<SecretText>, D::Error> {
    let texts = super::texts(d).map_err(|_| {
        D::Error::custom("expected texts separated by commas (what was found is not shown)")
    })?;
    Ok(texts.into_iter().map(SecretText::from).collect())
}

fn text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    // Not the error: it repeats what was found.
    String::deserialize(d)
        .map_err(|_| D::Error::custom("expected a text (what was found is not shown)"))
}

fn safe_part(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    if matches!(url.scheme(), "sqlite" | "embedded") {
        return Some(text.to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty())?;
    // Where an @ is left over, the user name's end was not found: a `/`, `?` or `#` stands in the
    // password, and parts of it were taken for a port or a path.
    let credentials = !url.username().is_empty() || url.password().is_some();
    if text.matches('@').count() != usize::from(credentials) {
        return None;
    }
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let path = if url.scheme().starts_with("http") { "" } else { url.path() };
    Some(format!("{}://{host}{port}{path}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused_and_not_repeated() {
        for value in [r#"["hunter2"]"#, r#"{"is":"hunter2"}"#, "7412", "true", "null"] {
            for error in [
                serde_json::from_str::<SecretText>(value).unwrap_err().to_string(),
                serde_json::from_str::<SecretUrl>(value).unwrap_err().to_string(),
            ] {
                assert!(error.starts_with("expected a text"), "{error}");
                assert!(!error.contains("hunter2") && !error.contains("7412"), "{error}");
            }
        }
        let list = serde_json::json!([["hunter2"]]);
        let error = secrets(list).unwrap_err().to_string();
        assert!(error.starts_with("expected texts") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn nothing_of_a_url_is_shown_that_may_be_a_password() {
        for (url, shown) in [
            ("amqps://me:hunter2@mq:5671/studio?heartbeat=4", "amqps://mq:5671/studio"),
            ("postgres://me@[::1]/studio", "postgres://[::1]/studio"),
            ("http://me:hunter2@127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318"),
            ("sqlite://store.db", "sqlite://store.db"),
            ("embedded:///var/lib/queues.db", "embedded:///var/lib/queues.db"),
        ] {
            assert_eq!(SecretUrl::from(url).shown(), shown);
        }
        for url in [
            "hunter2",
            "me:hunter2@db",
            "https:/me:hunter2@db/x",
            "postgres://me:hunter2@db:port/x",
            "postgres://me:12/hunter2@db/x",
            "postgres://me:12?hunter2@db/x",
            "postgres://me:12#hunter2@db/x",
            "postgres://me:hunter2@@db/x",
        ] {
            let shown = SecretUrl::from(url).shown();
            assert!(!shown.contains("hunter2") && !shown.contains("me"), "{url}: {shown}");
        }
    }
}
