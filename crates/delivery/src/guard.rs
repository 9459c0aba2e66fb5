//! The address guard: no request reaches a private, local or otherwise special address
//! (`docs/security.md`). URLs are checked when they are given and before each attempt; names
//! are checked again on the addresses they resolve to, which are the ones connected to.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use url::{Host, Url};

use crate::networks::{AllowedNetwork, Networks, Verdict};
use crate::special::is_public;
use crate::{DeliveryConfig, DeliveryConfigError};

/// Longest URL, in characters.
const MAX_URL: usize = 2_048;

/// Ports that no webhook listens on: those that browsers refuse (WHATWG Fetch, "bad port"), and
/// those of infrastructure that does harm when it is spoken to: databases, brokers, remote desktops
/// and shells, file shares, and what clusters are run with. Ports that people serve HTTP on by
/// custom (3000, 5000, 8000, 8080, 8081, 8443, 8888, 9000, 9090) stay open. A port is refused on
/// allowed networks, too. Sorted.
const REFUSED_PORTS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179,
    389, 427, 445, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 593,
    601, 623, 631, 636, 873, 989, 990, 992, 993, 995, 1099, 1433, 1434, 1521, 1719, 1720, 1723,
    1883, 2049, 2181, 2375, 2376, 2377, 2379, 2380, 2888, 3260, 3268, 3269, 3306, 3389, 3659, 3888,
    4045, 4190, 4222, 4369, 4646, 5060, 5061, 5432, 5671, 5672, 5900, 5901, 5984, 5985, 5986, 6000,
    6379, 6432, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 7199, 7473, 7474, 7687, 8009,
    8086, 8200, 8500, 8501, 8883, 8983, 9042, 9092, 9100, 9160, 9200, 9300, 10080, 10248, 10249,
    10250, 10255, 10256, 10257, 10259, 11211, 15671, 15672, 16379, 25672, 26257, 26379, 27017,
    27018, 27019, 28015, 61613, 61616,
];

/// Decides which endpoints may be reached.
#[derive(Clone, Debug)]
pub struct Guard {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    networks: Networks,
    require_https: bool,
}

/// A URL that no webhook may have. `Display` is a sentence for its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUrl {
    /// It is no URL that can be called.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its address is private, local or otherwise special.
    #[error("must not point to a private, local or reserved address")]
    BlockedAddress,
}

impl Guard {
    /// A guard with the networks of `config`.
    ///
    /// # Errors
    /// When a network is not written like `10.0.0.0/8`.
    pub fn new(config: &DeliveryConfig) -> Result<Self, DeliveryConfigError> {
        let rules = Rules { networks: Networks::new(config)?, require_https: config.require_https };
        Ok(Self { rules: Arc::new(rules) })
    }

    /// Whether `text` may be a webhook's URL. An address written in it, in any notation, is
    /// checked here; a name is checked when it is connected to.
    ///
    /// # Errors
    /// [`RefusedUrl`], whose text can be shown to the user.
    pub fn check_url(&self, text: &str) -> Result<Url, RefusedUrl> {
        check_spelling(text)?;
        let url = Url::parse(text)
            .map_err(|_| RefusedUrl::Malformed("must be a URL such as https://example.com/hook"))?;
        self.check_parsed(&url)?;
        Ok(url)
    }

    /// The part of [`Guard::check_url`] that may change between two attempts: the rules.
    pub(crate) fn check_parsed(&self, url: &Url) -> Result<(), RefusedUrl> {
        if self.rules.require_https && url.scheme() != "https" {
            return Err(RefusedUrl::Malformed("must begin with https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RefusedUrl::Malformed("must not contain a user name or a password"));
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if REFUSED_PORTS.contains(&port) {
            return Err(RefusedUrl::Malformed("must not use a port of another kind of service"));
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.check_literal(address.into())?,
            Some(Host::Ipv6(address)) => self.check_literal(address.into())?,
            Some(Host::Domain(name)) => check_name(name)?,
            None => return Err(RefusedUrl::Malformed("must name a host")),
        }
        Ok(())
    }

    fn check_literal(&self, address: IpAddr) -> Result<(), RefusedUrl> {
        if self.allows(address) { Ok(()) } else { Err(RefusedUrl::BlockedAddress) }
    }

    /// Whether `address` may be connected to: the narrowest network of the settings that holds it
    /// says so, and where none does, it is public and not one of this machine's own.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self.rules.networks.verdict(address) {
            Verdict::Allowed => true,
            Verdict::Denied => false,
            Verdict::Unnamed => is_public(address) && !is_own(address),
        }
    }

    /// What comes of each network that is allowed, in the order of the setting.
    #[must_use]
    pub fn allowed_networks(&self) -> Vec<AllowedNetwork> {
        self.rules.networks.outcome()
    }
}

/// What the parser of URLs would mend or strip, so that it must be looked at before.
fn check_spelling(text: &str) -> Result<(), RefusedUrl> {
    if text.chars().count() > MAX_URL {
        return Err(RefusedUrl::Malformed("must have at most 2,048 characters"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(RefusedUrl::Malformed("must not contain spaces, control characters or \\"));
    }
    let scheme_end = text.find("://").unwrap_or(0);
    let scheme = text[..scheme_end].to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(RefusedUrl::Malformed("must begin with https:// or http://"));
    }
    let authority = &text[scheme_end + 3..];
    let authority = &authority[..authority.find(['/', '?', '#']).unwrap_or(authority.len())];
    if authority.is_empty() {
        return Err(RefusedUrl::Malformed("must name a host"));
    }
    if authority.contains('@') {
        return Err(RefusedUrl::Malformed("must not contain a user name or a password"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), RefusedUrl> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() <= 253 && name.split('.').all(plain) {
        Ok(())
    } else {
        Err(RefusedUrl::Malformed("must name a host that DNS can know"))
    }
}

/// Whether `address` is one of this machine's own: only those can be bound to.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        let allow_networks = allow.iter().map(ToString::to_string).collect();
        Guard::new(&DeliveryConfig { allow_networks, ..DeliveryConfig::default() }).unwrap()
    }

    fn refused(urls: &[&str]) {
        let guard = guard(&[]);
        for url in urls {
            assert!(guard.check_url(url).is_err(), "{url} must be refused");
        }
    }

    fn hosts_refused(hosts: &str) {
        let urls: Vec<String> = hosts.split_whitespace().map(|h| format!("http://{h}/")).collect();
        let guard = guard(&[]);
        for url in urls {
            assert_eq!(guard.check_url(&url), Err(RefusedUrl::BlockedAddress), "{url}");
        }
    }

    #[test]
    fn special_ipv4_addresses_are_refused() {
        hosts_refused(
            "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.254 100.100.100.200 127.0.0.1
             127.255.255.254 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.192
             192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
             233.252.0.16 240.0.0.1 255.255.255.255 168.63.129.16",
        );
    }

    #[test]
    fn their_public_neighbours_pass() {
        let guard = guard(&[]);
        for host in "100.63.255.254 100.128.0.1 172.15.255.255 172.32.0.1 169.253.255.255
                     198.17.255.255 198.20.0.1 223.255.255.255 8.8.8.8 [2606:4700:4700::1111]
                     [2001:4860:4860::8888] example.com xn--bcher-kva.example"
            .split_whitespace()
        {
            assert!(guard.check_url(&format!("http://{host}/")).is_ok(), "{host}");
        }
    }

    #[test]
    fn every_notation_of_a_special_address_is_seen_through() {
        hosts_refused(
            "127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 127.0.0.1.
             ①②⑦.⓪.⓪.① 127。0。0。1 １２７.0.0.1 %31%32%37.0.0.1 2852039166 0xa9fea9fe
             0251.0376.0251.0376 169.16689662",
        );
    }

    #[test]
    fn special_ipv6_addresses_are_refused() {
        hosts_refused(
            "[::] [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:a9fe:a9fe]
             [::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::808:808]
             [64:ff9b:1::a00:1] [2002:7f00:1::] [2002:808:808::1]
             [2001:0:4136:e378:8000:63bf:3fff:fdd2] [2001:db8::1] [3fff::1] [100::1] [5f00::1]
             [fc00::1] [fd00:ec2::254] [fe80::1] [febf::1] [fec0::1] [ff02::1]",
        );
        refused(&["http://[fe80::1%25eth0]/"]);
    }

    #[test]
    fn tricks_of_spelling_are_refused() {
        refused(&[
            "http://1.1.1.1@127.0.0.1/",
            "http://user:pw@example.com/",
            "http://@example.com/",
            "http://127.0.0.1#@example.com/",
            "http://example.com\\@127.0.0.1/",
            "http://127.0.0.1%00.example.com/",
            "http:127.0.0.1",
            "//127.0.0.1/",
            "https:/\\/127.0.0.1/",
            "file:///etc/passwd",
            "gopher://x:70/_",
            "ftp://x/",
            "unix:/run/x",
            "data:,x",
            "javascript:1",
            "http://",
            "http:///path",
            "http://a..b/",
            "http://example.com:0/",
            "http://example.com:99999/",
            "http://example.com:22/",
            "http://example.com:25/",
            "http://example.com:6379/",
            "http://example.com:5672/",
            "http://example.com:15672/",
            "http://exam\tple.com/",
            "http://example.com/\r\n",
            "http://example.com/ ",
            "",
        ]);
        let long = format!("http://example.com/{}", "x".repeat(2_030));
        refused(&[&long]);
    }

    #[test]
    fn an_allowed_network_opens_nothing_beside_itself() {
        let guard = guard(&["127.0.0.0/8"]);
        assert!(guard.check_url("http://127.0.0.1:8080/").is_ok());
        assert!(guard.check_url("http://[::ffff:127.0.0.1]:8080/").is_ok());
        assert!(guard.check_url("http://10.0.0.1/").is_err());
    }

    #[test]
    fn a_denied_network_within_an_allowed_one_stays_shut() {
        let config = DeliveryConfig {
            allow_networks: vec!["10.0.0.0/8".into()],
            deny_networks: vec!["10.1.0.0/16".into()],
            ..DeliveryConfig::default()
        };
        let guard = Guard::new(&config).unwrap();
        assert!(guard.check_url("http://10.0.0.1/").is_ok());
        for inside in ["http://10.1.0.1/", "http://[::ffff:10.1.0.1]/", "http://10.65537/"] {
            assert_eq!(guard.check_url(inside), Err(RefusedUrl::BlockedAddress), "{inside}");
        }
    }

    #[test]
    fn ports_of_infrastructure_are_refused_and_those_of_http_are_not() {
        assert!(REFUSED_PORTS.is_sorted());
        // On allowed networks, too.
        let guard = guard(&["127.0.0.0/8"]);
        let of = |port: u16| guard.check_url(&format!("http://127.0.0.1:{port}/hook"));
        for port in [445, 2049, 2181, 2379, 3389, 5900, 6443, 8500, 10250, 10255, 6379, 9200] {
            let text = "must not use a port of another kind of service";
            assert_eq!(of(port), Err(RefusedUrl::Malformed(text)), "{port}");
        }
        for port in [80, 443, 3000, 4000, 5000, 5001, 8000, 8080, 8081, 8443, 8888, 9000, 9090] {
            assert!(of(port).is_ok(), "{port}");
        }
    }

    #[test]
    fn https_can_be_required() {
        let config = DeliveryConfig { require_https: true, ..DeliveryConfig::default() };
        let guard = Guard::new(&config).unwrap();
        assert!(guard.check_url("http://example.com/").is_err());
        assert!(guard.check_url("HTTPS://example.com/").is_ok());
    }

    #[test]
    fn a_network_that_is_none_names_its_setting() {
        let config =
            DeliveryConfig { allow_networks: vec!["127.0.0.1/33".into()], ..Default::default() };
        let error = Guard::new(&config).unwrap_err();
        assert_eq!(error.key, "delivery.allow_networks");
    }
}
