//! Wrong tokens cost their sender: so many from one address in a minute, counted over every
//! route of every service in the process.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::address::network_of;

/// Addresses that are told apart, at most: anybody can have many.
const ADDRESSES: usize = 50_000;

/// Stands for every address when there are too many to tell apart.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Wrong tokens between two rounds of forgetting addresses at rest.
const ROUND: u32 = 10_000;

/// The time in which the limit comes back whole, microseconds.
const MINUTE: u64 = 60_000_000;

/// Counts wrong tokens by address. Right ones are not counted and never refused for it: behind
/// one address there may be many callers.
#[derive(Debug)]
pub(crate) struct WrongTokens {
    /// What one token costs, microseconds; none without a limit.
    cost: Option<u64>,
    began: Instant,
    /// When each address has its whole limit again, microseconds after `began`.
    spent_until: DashMap<IpAddr, u64>,
    counted: AtomicU32,
}

impl WrongTokens {
    /// So many in a minute, and as many at once; 0 for no limit.
    pub(crate) fn new(per_minute: u32) -> Self {
        let cost = NonZeroU32::new(per_minute).map(|limit| MINUTE / u64::from(limit.get()));
        Self { cost, began: Instant::now(), spent_until: DashMap::new(), counted: 0.into() }
    }

    /// Whether `address` may send no other wrong token yet.
    pub(crate) fn is_over(&self, address: IpAddr) -> bool {
        self.cost.is_some_and(|cost| self.wait(self.spent(address), cost).is_some())
    }

    /// Counts one from `address`.
    ///
    /// # Errors
    /// The seconds to wait, when it had sent enough before.
    pub(crate) fn count(&self, address: IpAddr) -> Result<(), u64> {
        let Some(cost) = self.cost else { return Ok(()) };
        if self.counted.fetch_add(1, Ordering::Relaxed) % ROUND == ROUND - 1 {
            let now = self.now();
            self.spent_until.retain(|_, until| *until > now);
        }
        let mut spent = self.spent_until.entry(self.key(address)).or_default();
        match self.wait(*spent, cost) {
            // Rounded up: whoever waits as long as we say gets through.
            Some(wait) => Err(wait.as_secs() + 1),
            None => {
                *spent = (*spent).max(self.now()) + cost;
                Ok(())
            }
        }
    }

    fn spent(&self, address: IpAddr) -> u64 {
        let known = |address: IpAddr| self.spent_until.get(&address).map(|until| *until);
        known(network_of(address)).or_else(|| known(self.key(address))).unwrap_or(0)
    }

    /// What is counted together with `address`.
    fn key(&self, address: IpAddr) -> IpAddr {
        let network = network_of(address);
        let known = self.spent_until.len() < ADDRESSES || self.spent_until.contains_key(&network);
        if known { network } else { ANY }
    }

    /// How long until another may come.
    fn wait(&self, spent_until: u64, cost: u64) -> Option<Duration> {
        let now = self.now();
        let after = spent_until.max(now) + cost;
        let over = after.saturating_sub(now + MINUTE);
        (over > 0).then(|| Duration::from_micros(over))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX - 2 * MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn an_address_sends_as_many_as_it_may_and_others_are_not_touched() {
        let wrong = WrongTokens::new(5);
        for _ in 0..5 {
            assert!(!wrong.is_over(address(7)));
            assert_eq!(wrong.count(address(7)), Ok(()));
        }
        let wait = wrong.count(address(7)).unwrap_err();
        assert!((11..=13).contains(&wait), "{wait}");
        assert!(wrong.is_over(address(7)) && !wrong.is_over(address(8)));
        assert_eq!(wrong.count(address(8)), Ok(()));
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let wrong = WrongTokens::new(0);
        assert!((0..1_000).all(|_| wrong.count(ANY).is_ok() && !wrong.is_over(ANY)));
        assert!(wrong.spent_until.is_empty());
    }

    #[test]
    fn addresses_are_told_apart_until_there_are_too_many() {
        // One a minute: nobody is forgotten while this runs.
        let wrong = WrongTokens::new(1);
        assert!(wrong.count(address(7)).is_ok());
        assert!(wrong.count(address(7)).is_err());
        for n in 0..60_000 {
            wrong.count(address(0x0a00_0000 + n)).ok();
        }
        assert!(wrong.spent_until.len() <= ADDRESSES + 1);
        assert!(wrong.count(address(0x0b00_0000)).is_err(), "all others together");
        assert!(wrong.is_over(address(0x0b00_0000)) && wrong.is_over(address(7)));
    }
}
