//! The operator's networks: those that are allowed beside the public internet, those that are
//! denied beside the special ranges, and which of two that hold an address counts.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::special::SPECIAL;
use crate::{DeliveryConfig, DeliveryConfigError};

/// What the operator allowed and denied.
#[derive(Debug)]
pub(crate) struct Networks {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

/// What the settings say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It lies in an allowed network, and in no denied one as narrow.
    Allowed,
    /// It lies in a denied network, and in no allowed one narrower.
    Denied,
    /// It lies in neither: public addresses are let through, special ones are not.
    Unnamed,
}

/// What comes of one allowed network, for operators: `Display` is a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedNetwork {
    /// As it counts: IPv4 written as IPv6 is IPv4.
    pub network: IpNet,
    /// Whether nothing of it is left: the same network is denied.
    pub refused: bool,
    /// The denied networks that are cut out of it.
    pub without: Vec<IpNet>,
    /// The denied networks around it, of which it is an exception.
    pub within: Vec<IpNet>,
    /// The special ranges that it opens, whole or in part.
    pub opens: Vec<&'static str>,
}

impl Networks {
    /// # Errors
    /// When a network is not written like `10.0.0.0/8`.
    pub(crate) fn new(config: &DeliveryConfig) -> Result<Self, DeliveryConfigError> {
        Ok(Self {
            allow: read("delivery.allow_networks", &config.allow_networks)?,
            deny: read("delivery.deny_networks", &config.deny_networks)?,
        })
    }

    /// The narrower network counts, whichever list it stands on: who names `10.1.0.0/16` beside
    /// `10.0.0.0/8` means an exception from it. Of two that are the same, the denied one: a
    /// contradiction must not open anything.
    pub(crate) fn verdict(&self, address: IpAddr) -> Verdict {
        let narrowest = |networks: &[IpNet]| {
            let around = networks.iter().filter(|network| network.contains(&address));
            around.map(IpNet::prefix_len).max()
        };
        match (narrowest(&self.allow), narrowest(&self.deny)) {
            (None, None) => Verdict::Unnamed,
            (allowed, denied) if allowed > denied => Verdict::Allowed,
            _ => Verdict::Denied,
        }
    }

    /// What comes of each allowed network, in their order.
    pub(crate) fn outcome(&self) -> Vec<AllowedNetwork> {
        self.allow.iter().map(|network| self.outcome_of(*network)).collect()
    }

    fn outcome_of(&self, network: IpNet) -> AllowedNetwork {
        let denied = |test: &dyn Fn(&IpNet) -> bool| {
            self.deny.iter().copied().filter(|other| *other != network && test(other)).collect()
        };
        let mut opens: Vec<&'static str> = Vec::new();
        let meets = |other: &IpNet| other.contains(&network) || network.contains(other);
        // Of ranges around it the narrowest says what it is.
        let around = SPECIAL.iter().find(|special| special.network.contains(&network));
        let met = SPECIAL.iter().filter(|special| meets(&special.network));
        let met = met.filter(|special| {
            network.contains(&special.network)
                || around.is_some_and(|a| a.network == special.network)
        });
        for special in met {
            if !opens.contains(&special.name) {
                opens.push(special.name);
            }
        }
        AllowedNetwork {
            network,
            refused: self.deny.contains(&network),
            without: denied(&|other| network.contains(other)),
            within: denied(&|other| other.contains(&network)),
            opens,
        }
    }
}

impl std::fmt::Display for AllowedNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |networks: &[IpNet]| {
            networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
        };
        write!(f, "{} is ", self.network)?;
        if self.refused {
            return f.write_str(
                "refused, though delivery.allow_networks has it: delivery.deny_networks has the \
                 same network, and of two that are the same the denied one counts",
            );
        }
        f.write_str("open to every user's webhooks")?;
        if self.opens.is_empty() {
            f.write_str(" (public: so it would be without being allowed)")?;
        } else {
            write!(f, " ({})", self.opens.join("; "))?;
        }
        if !self.without.is_empty() {
            write!(f, ", without {}, which delivery.deny_networks cuts out", list(&self.without))?;
        }
        if !self.within.is_empty() {
            write!(f, ", as an exception from {}, which is denied", list(&self.within))?;
        }
        Ok(())
    }
}

fn read(key: &'static str, texts: &[String]) -> Result<Vec<IpNet>, DeliveryConfigError> {
    let read = |text: &String| {
        text.parse().map(canonical).map_err(|_| DeliveryConfigError {
            key,
            message: format!("expected networks such as 10.0.0.0/8,fd00::/8, found {text:?}"),
        })
    };
    texts.iter().map(read).collect()
}

/// Addresses are looked at as IPv4 where they are IPv4 inside `::ffff:0:0/96`; networks likewise,
/// or their length could not be compared. Bits behind the prefix say nothing.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network.trunc() else {
        return network.trunc();
    };
    match (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96)) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_or(network, IpNet::V4),
        _ => IpNet::V6(mapped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(allow: &str, deny: &str) -> Networks {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let config = DeliveryConfig {
            allow_networks: list(allow),
            deny_networks: list(deny),
            ..DeliveryConfig::default()
        };
        Networks::new(&config).unwrap()
    }

    #[track_caller]
    fn assert_verdicts(allow: &str, deny: &str, expected: &[(&str, Verdict)]) {
        let networks = networks(allow, deny);
        for (address, verdict) in expected {
            let of = networks.verdict(address.parse().unwrap());
            assert_eq!(of, *verdict, "{address} with {allow:?} allowed and {deny:?} denied");
        }
    }

    #[test]
    fn the_narrower_network_counts_and_of_two_alike_the_denied_one() {
        use Verdict::{Allowed, Denied, Unnamed};
        let cut = [("10.0.0.1", Allowed), ("10.1.0.1", Denied), ("11.0.0.1", Unnamed)];
        assert_verdicts("10.0.0.0/8", "10.1.0.0/16", &cut);
        // Whatever their order and notation.
        assert_verdicts("192.0.2.0/24 10.9.9.9/8", "10.2.0.0/16 10.1.2.3/16", &cut);
        assert_verdicts("::ffff:10.0.0.0/104", "10.1.0.0/16", &cut);
        assert_verdicts("10.0.0.0/8", "::ffff:10.1.0.0/112", &cut);
        let exception = [("10.1.0.1", Denied), ("10.1.2.3", Allowed), ("10.1.2.4", Denied)];
        assert_verdicts("10.0.0.0/8 10.1.2.3/32", "10.1.0.0/16", &exception);
        assert_verdicts("10.0.0.0/8", "10.0.0.0/8", &[("10.0.0.1", Denied)]);
        assert_verdicts("0.0.0.0/0", "168.63.129.16/32", &[("168.63.129.16", Denied)]);
        let v6 = [("fd00::1", Allowed), ("fd00:1::1", Denied), ("fe80::1", Unnamed)];
        assert_verdicts("fd00::/8", "fd00:1::/32", &v6);
        // IPv6's whole is not IPv4's.
        assert_verdicts("::/0", "", &[("10.0.0.1", Unnamed), ("fd00::1", Allowed)]);
    }

    #[test]
    fn operators_read_what_comes_of_each_allowed_network() {
        let networks = networks(
            "10.0.0.0/8 192.0.2.0/24 8.8.8.0/24 10.1.2.0/24 0.0.0.0/0",
            "10.1.0.0/16 192.0.2.0/24",
        );
        let told: Vec<String> = networks.outcome().iter().map(ToString::to_string).collect();
        let private = "10.0.0.0/8 is open to every user's webhooks (private), without 10.1.0.0/16, \
                       which delivery.deny_networks cuts out";
        assert_eq!(told[0], private);
        assert!(told[1].starts_with("192.0.2.0/24 is refused, though"), "{}", told[1]);
        assert!(told[2].ends_with("(public: so it would be without being allowed)"), "{}", told[2]);
        assert!(
            told[3].ends_with("as an exception from 10.1.0.0/16, which is denied"),
            "{}",
            told[3]
        );
        for opened in ["loopback", "metadata", "private", "without 10.1.0.0/16, 192.0.2.0/24"] {
            assert!(told[4].contains(opened), "{}", told[4]);
        }
    }
}
