//! Who is connected to which worker: where the hub sends an event, and what the limits on
//! connections are counted by.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use domain::UserId;

use crate::config::GatewayConfig;

/// The connections of the process.
#[derive(Default)]
pub(crate) struct Presence {
    users: DashMap<UserId, Vec<Place>, ahash::RandomState>,
    addresses: DashMap<IpAddr, usize, ahash::RandomState>,
    total: AtomicUsize,
}

/// How many connections a user has at a worker.
struct Place {
    worker: usize,
    connections: usize,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The process takes no more.
    Process,
    /// This address has enough.
    Address,
    /// This user has enough.
    User,
}

/// One connection, counted until it is dropped.
pub(crate) struct Pass {
    presence: Arc<Presence>,
    user: UserId,
    address: Option<IpAddr>,
    worker: usize,
}

impl Presence {
    /// Lets one more connection in.
    pub(crate) fn enter(
        self: &Arc<Self>,
        user: &UserId,
        address: Option<IpAddr>,
        worker: usize,
        limits: &GatewayConfig,
    ) -> Result<Pass, Full> {
        if self.total.load(Ordering::Relaxed) >= limits.connections {
            return Err(Full::Process);
        }
        // Not counted at all where there is no limit.
        let address = address.filter(|_| limits.connections_per_address > 0);
        if let Some(address) = address {
            let mut known = self.addresses.entry(address).or_default();
            if *known >= limits.connections_per_address {
                return Err(Full::Address);
            }
            *known += 1;
        }
        if !self.settle(user, worker, limits.connections_per_user) {
            self.forget_address(address);
            return Err(Full::User);
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(Pass { presence: self.clone(), user: user.clone(), address, worker })
    }

    /// How many connections there are, and of how many users.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.total.load(Ordering::Relaxed), self.users.len())
    }

    fn settle(&self, user: &UserId, worker: usize, most: usize) -> bool {
        let mut places = self.users.entry(user.clone()).or_default();
        if places.iter().map(|place| place.connections).sum::<usize>() >= most {
            return false;
        }
        match places.iter_mut().find(|place| place.worker == worker) {
            Some(place) => place.connections += 1,
            None => {
                places.reserve_exact(1);
                places.push(Place { worker, connections: 1 });
            }
        }
        true
    }

    fn forget_address(&self, address: Option<IpAddr>) {
        let Some(address) = address else {
            return;
        };
        if let Some(mut known) = self.addresses.get_mut(&address) {
            *known -= 1;
        }
        self.addresses.remove_if(&address, |_, known| *known == 0);
    }

    /// Whether `user` has a connection.
    pub(crate) fn has(&self, user: &UserId) -> bool {
        self.users.contains_key(user)
    }

    /// Calls `tell` with each worker that `user` is connected to.
    pub(crate) fn workers_of(&self, user: &UserId, mut tell: impl FnMut(usize)) {
        if let Some(places) = self.users.get(user) {
            places.iter().for_each(|place| tell(place.worker));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let presence = &self.presence;
        presence.total.fetch_sub(1, Ordering::Relaxed);
        presence.forget_address(self.address);
        if let Some(mut places) = presence.users.get_mut(&self.user) {
            places.retain_mut(|place| {
                place.connections -= usize::from(place.worker == self.worker);
                place.connections > 0
            });
        }
        presence.users.remove_if(&self.user, |_, places| places.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> GatewayConfig {
        GatewayConfig {
            connections: 4,
            connections_per_user: 3,
            connections_per_address: 2,
            ..GatewayConfig::default()
        }
    }

    #[test]
    fn a_user_is_found_where_they_are_until_they_leave() {
        let presence = Arc::new(Presence::default());
        let user: UserId = "u".parse().unwrap();
        let enter = |worker| presence.enter(&user, None, worker, &limits()).unwrap();
        let passes = [enter(0), enter(2), enter(2)];
        let workers = || {
            let mut found = Vec::new();
            presence.workers_of(&user, |worker| found.push(worker));
            found
        };
        assert_eq!(workers(), [0, 2]);
        let [first, second, third] = passes;
        drop((first, second));
        assert_eq!(workers(), [2]);
        drop(third);
        assert!(workers().is_empty() && presence.users.is_empty());
    }

    #[test]
    fn each_limit_holds_and_what_was_refused_is_not_counted() {
        let presence = Arc::new(Presence::default());
        let home: Option<IpAddr> = Some([127, 0, 0, 1].into());
        let enter =
            |user: &str, address| presence.enter(&user.parse().unwrap(), address, 0, &limits());
        let mut passes = vec![enter("a", home).unwrap(), enter("b", home).unwrap()];
        assert_eq!(enter("c", home).err(), Some(Full::Address));
        passes.extend([enter("a", None).unwrap()]);
        passes.remove(1);
        passes.extend([enter("a", None).unwrap()]);
        assert_eq!(enter("a", home).err(), Some(Full::User));
        passes.extend([enter("b", home).unwrap()]);
        assert_eq!(enter("d", None).err(), Some(Full::Process));
        passes.clear();
        assert!(presence.addresses.is_empty() && presence.users.is_empty());
    }
}
