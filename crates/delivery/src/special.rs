//! Addresses that are not ordinary unicast on the public internet: IANA's special-purpose
//! registries for IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A special range, and what it is.
pub(crate) struct Special {
    pub(crate) network: IpNet,
    pub(crate) name: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8, name: &'static str) -> Special {
    let network = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix));
    Special { network, name }
}

const fn v6(a: u16, b: u16, prefix: u8, name: &'static str) -> Special {
    let network = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix));
    Special { network, name }
}

/// Every special range. Of IPv6 only 2000::/3 is in use; what lies outside is cut into what it is,
/// the narrower first.
pub(crate) const SPECIAL: &[Special] = &[
    v4(0, 0, 0, 8, "this network"),
    v4(10, 0, 0, 8, "private"),
    v4(100, 64, 0, 10, "a carrier's own"),
    v4(127, 0, 0, 8, "loopback"),
    v4(169, 254, 0, 16, "link-local, with the clouds' metadata services"),
    v4(172, 16, 0, 12, "private"),
    v4(192, 0, 0, 24, "protocol assignments"),
    v4(192, 0, 2, 24, "documentation"),
    v4(192, 88, 99, 24, "6to4 relays"),
    v4(192, 168, 0, 16, "private"),
    v4(198, 18, 0, 15, "benchmarks"),
    v4(198, 51, 100, 24, "documentation"),
    v4(203, 0, 113, 24, "documentation"),
    v4(224, 0, 0, 4, "multicast"),
    v4(240, 0, 0, 4, "reserved"),
    Special { network: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)), name: "loopback" },
    v6(0x64, 0xff9b, 32, "IPv4 behind NAT64"),
    v6(0xfc00, 0, 7, "unique local"),
    v6(0xfe80, 0, 10, "link-local"),
    v6(0xff00, 0, 8, "multicast"),
    v6(0x2001, 0, 23, "protocol assignments, with IPv4 inside"),
    v6(0x2001, 0xdb8, 32, "documentation"),
    v6(0x2002, 0, 16, "IPv4 inside 6to4"),
    v6(0x3fff, 0, 20, "documentation"),
    v6(0, 0, 3, "not in use, with IPv4 inside"),
    v6(0x4000, 0, 2, "not in use"),
    v6(0x8000, 0, 1, "not in use"),
];

/// Whether `address` is ordinary unicast on the public internet. IPv4 inside IPv6 (NAT64, 6to4,
/// Teredo, compatible) is not.
pub(crate) fn is_public(address: IpAddr) -> bool {
    !SPECIAL.iter().any(|special| special.network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of each range, and their neighbours.
    #[test]
    fn a_range_ends_where_it_is_said_to_end() {
        let inside = |address: IpAddr| !is_public(address);
        for special in SPECIAL {
            let network = special.network;
            assert_eq!(network, network.trunc(), "{network} begins where it is written");
            assert!(inside(network.network()) && inside(network.broadcast()), "{network}");
        }
        for neighbour in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "3fff:1000::",
            "3ffe:ffff::",
            "2606:4700:4700::1111",
        ] {
            assert!(is_public(neighbour.parse().unwrap()), "{neighbour}");
        }
    }
}
