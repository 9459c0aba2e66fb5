//! Who may ask: programs on the operators' network. A browser there, which a page of somebody
//! else's has ask, may not: pages cannot hide the name that they were found by (`Host`), nor
//! where they come from (`Origin`, `Sec-Fetch-Site`).

use std::net::IpAddr;

use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

/// What browsers say of who has them ask.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused: the text is the answer.
pub(crate) type Reason = &'static str;

const NAME: Reason = "this listener answers to addresses, to localhost and to the names in \
     operate.hosts (STUDIO__OPERATE__HOSTS): call it by one of them, or add the name";
const PAGE: Reason = "this listener is not for pages in browsers: call it from a program";

/// Whether a request with these headers may be answered by a listener that has these names.
///
/// # Errors
/// With the reason, for whoever asks.
pub(crate) fn check(headers: &HeaderMap, names: &[String]) -> Result<(), Reason> {
    if headers.contains_key(ORIGIN) {
        return Err(PAGE);
    }
    let site = headers.get(FETCH_SITE).map(|site| site.as_bytes());
    if site.is_some_and(|site| !matches!(site, b"none" | b"same-origin")) {
        return Err(PAGE);
    }
    // All of them: of several, nobody knows which one counts.
    headers.get_all(HOST).try_for_each(|host| {
        let ours = host.to_str().is_ok_and(|host| is_ours(name_of(host), names));
        if ours { Ok(()) } else { Err(NAME) }
    })
}

/// The name or the address of `host:port`.
pub(crate) fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_ours(name: &str, names: &[String]) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn asked(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        check(&headers, &["operators.internal".to_owned()]).is_ok()
    }

    #[test]
    fn addresses_and_known_names_are_answered() {
        for host in [
            "127.0.0.1:9080",
            "[::1]:9080",
            "10.1.2.3",
            "localhost:9080",
            "LOCALHOST",
            "operators.internal:9080",
            "Operators.Internal.",
        ] {
            assert!(asked(&[("host", host)]), "{host}");
        }
        assert!(asked(&[]), "HTTP/1.0");
        assert!(asked(&[("host", "localhost"), ("sec-fetch-site", "none")]), "typed by a person");
    }

    #[test]
    fn a_page_in_a_browser_is_refused_whatever_name_it_gave_this_machine() {
        for host in ["rebound.example:9080", "127.0.0.1.nip.io", "localhost.example", "", "a:b:c"] {
            assert!(!asked(&[("host", host)]), "{host}");
        }
        assert!(!asked(&[("host", "localhost"), ("host", "rebound.example")]));
        for origin in ["http://rebound.example", "null", "http://127.0.0.1:9080"] {
            assert!(!asked(&[("host", "localhost"), ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(!asked(&[("host", "127.0.0.1:9080"), ("sec-fetch-site", site)]), "{site}");
        }
    }
}
