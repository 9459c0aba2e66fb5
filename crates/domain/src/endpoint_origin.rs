//! Which host a URL leads to: its scheme, host and port, in one spelling.

use url::Url;

/// Whether a webhook whose URL was `before` is called at another scheme, host or port when it is
/// `after`. Compared is what is called: case, default ports, the dot at the end of a name, and
/// the spellings of international names and of addresses make no difference. What is no URL is
/// another one as soon as it is written otherwise.
///
/// ```
/// # use domain::leads_elsewhere;
/// assert!(!leads_elsewhere("https://example.com/a", "HTTPS://Example.com.:443/b"));
/// assert!(leads_elsewhere("https://example.com/", "http://example.com/"));
/// ```
#[must_use]
pub fn leads_elsewhere(before: &str, after: &str) -> bool {
    before != after
        && match (origin(before), origin(after)) {
            (Some(before), Some(after)) => before != after,
            _ => true,
        }
}

fn origin(text: &str) -> Option<(String, String, Option<u16>)> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let host = host.strip_suffix('.').unwrap_or(host).to_owned();
    Some((url.scheme().to_owned(), host, url.port_or_known_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_place_are_one_place() {
        for (before, after) in [
            ("https://a.example/", "https://a.example/other?x#y"),
            ("https://a.example", "HTTPS://A.EXAMPLE.:443/"),
            ("http://a.example/", "http://a.example:80/"),
            ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/"),
            ("http://8.8.8.8/", "http://0x8.0x8.2056/"),
            ("http://[2606:4700:0:0::1]/", "http://[2606:4700::1]/"),
            ("no url", "no url"),
        ] {
            assert!(!leads_elsewhere(before, after), "{before} {after}");
            assert!(!leads_elsewhere(after, before), "{after} {before}");
        }
    }

    #[test]
    fn another_scheme_host_or_port_is_elsewhere() {
        for after in [
            "http://a.example/",
            "https://a.example:8443/",
            "https://b.example/",
            "https://a.example.b.example/",
            "https://sub.a.example/",
            "https://a.example@b.example/",
            "no url",
        ] {
            assert!(leads_elsewhere("https://a.example/", after), "{after}");
        }
    }
}
