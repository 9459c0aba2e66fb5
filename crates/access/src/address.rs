//! Where a request comes from: what callers without a right token are told apart by.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

/// Addresses of `X-Forwarded-For` that are looked at, from the right.
const LOOKED_AT: usize = 32;

impl Proxies {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address` is one of the proxies.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the peer, or, where the peer is one of the proxies, the rightmost
    /// address of `forwarded` (the lines of `X-Forwarded-For`, in order) that is none of them.
    /// What stands to the left of it anybody may have written.
    #[must_use]
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut nearest = peer.to_canonical();
        let hops = forwarded.rev().flat_map(|line| line.rsplit(',')).take(LOOKED_AT);
        for hop in hops {
            if !self.contains(nearest) {
                break;
            }
            match address_of(hop.trim()) {
                Some(address) => nearest = address,
                // The proxy did not know either.
                None => break,
            }
        }
        nearest
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address_of(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|text| text.split(']').next()).unwrap_or(text);
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    plain.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// What is counted as one caller: an IPv4 address, or the /64 of an IPv6 address, of which one
/// machine has as many as it likes.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

impl<'de> Deserialize<'de> for Proxies {
    /// Networks such as `10.0.0.0/8`, or addresses, separated by commas or as a list.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let texts = domain::setting::texts(d)?;
        let networks = texts.iter().map(|text| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                D::Error::custom(format!("expected networks such as 10.0.0.0/8, found {text:?}"))
            })
        });
        networks.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies: Proxies =
            serde_json::from_str(r#""10.0.0.0/8, fd00::/8, 192.0.2.7""#).unwrap();
        proxies.client(peer.parse().unwrap(), lines.iter().copied()).to_string()
    }

    #[test]
    fn only_proxies_are_believed_and_only_what_they_wrote() {
        assert_eq!(client("203.0.113.9", &["1.1.1.1"]), "203.0.113.9");
        assert_eq!(client("10.1.1.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.1.1.1", &["6.6.6.6, 1.1.1.1, 10.2.2.2"]), "1.1.1.1");
        assert_eq!(client("10.1.1.1", &["6.6.6.6", "1.1.1.1,192.0.2.7"]), "1.1.1.1");
        assert_eq!(client("::ffff:10.1.1.1", &["::ffff:1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.1.1.1", &["1.1.1.1:5000"]), "1.1.1.1");
    }

    #[test]
    fn without_a_readable_address_it_is_the_nearest_known() {
        assert_eq!(client("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(client("10.1.1.1", &["1.1.1.1, unknown"]), "10.1.1.1");
        assert_eq!(client("10.1.1.1", &["1.1.1.1, , 10.3.3.3"]), "10.3.3.3");
        let long = "10.9.9.9,".repeat(100_000) + "10.9.9.9";
        assert_eq!(client("10.1.1.1", &[&long]), "10.9.9.9");
    }

    #[test]
    fn a_machine_with_many_addresses_is_one_caller() {
        let of = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn what_is_no_network_is_named() {
        let error = serde_json::from_str::<Proxies>(r#""10.0.0.0/33""#).unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/33"), "{error}");
    }
}
