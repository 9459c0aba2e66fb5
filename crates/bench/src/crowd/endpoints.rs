//! All endpoints of a town: one receiver at every address of 127.0.0.0/8, each address a host.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::tracker::Tracker;
use crate::receiver::{Answer, Arrival, Keep, Receiver, ReceiverOptions, Script, Workers};

/// Healthy: 200 at once.
const QUICK: &str = "/healthy/quick";

/// Healthy, but for each delivery's first attempt.
const ONCE: &str = "/healthy/once";

/// Nobody listens there.
const REFUSING: &str = "http://127.8.8.8:8/";

/// The host that groups at one host share, and healthy users who are to be there, too.
pub const SHARED: Ipv4Addr = Ipv4Addr::new(127, 200, 0, 1);

/// What a crowd's endpoints do.
#[derive(Clone, Debug)]
pub enum Manner {
    /// 200 at once.
    Quick,
    /// 200 after this time.
    Later(Duration),
    /// No answer, ever.
    Silent,
    /// A byte a second.
    Dripping,
    /// No connection.
    Refusing,
    /// 503 at once.
    Failing,
    /// 200 at once, and after every such time the other answer for as long.
    Flapping(Duration, Answer),
    /// By so few at a time.
    ByWorkers(Workers),
}

/// Where all webhooks of a town point to.
pub struct Endpoints {
    receiver: Receiver,
    hosts: AtomicU32,
    requests: Arc<Mutex<HashMap<String, usize>>>,
    pub(super) tracker: Arc<Tracker>,
}

impl Endpoints {
    /// Starts them.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        let tracker = Arc::<Tracker>::default();
        let requests = Arc::<Mutex<HashMap<String, usize>>>::default();
        let (tracking, counting) = (Arc::clone(&tracker), Arc::clone(&requests));
        let observer = move |arrival: &Arrival<'_>| {
            if arrival.path == QUICK || arrival.path == ONCE {
                return tracking.saw(arrival);
            }
            let mut counting = counting.lock().unwrap_or_else(PoisonError::into_inner);
            match counting.get_mut(arrival.path) {
                Some(count) => *count += 1,
                None => drop(counting.insert(arrival.path.to_owned(), 1)),
            }
        };
        let options = ReceiverOptions {
            keep: Keep::Counts,
            observer: Some(Arc::new(observer)),
            bind: Ipv4Addr::UNSPECIFIED.into(),
            ..ReceiverOptions::default()
        };
        let receiver = Receiver::start_with(options).await?;
        receiver.answer(ONCE, Script::by_delivery([503, 200]));
        Ok(Self { receiver, hosts: AtomicU32::new(0), requests, tracker })
    }

    /// Both endpoints of a healthy user, at `host` or at one of their own.
    pub(super) fn healthy(&self, host: Option<Ipv4Addr>) -> [String; 2] {
        let host = host.unwrap_or_else(|| self.host());
        [QUICK, ONCE].map(|path| self.receiver.url_at(host, path))
    }

    /// An endpoint of the group `name` at a host of its own, or at the one that is shared.
    pub(super) fn of_group(&self, name: &str, manner: &Manner, shared: bool) -> String {
        if matches!(manner, Manner::Refusing) {
            return REFUSING.to_owned();
        }
        let host = if shared { SHARED } else { self.host() };
        self.receiver.url_at(host, &path(name))
    }

    /// From now on the group's endpoints do this.
    pub(super) fn behave(&self, name: &str, manner: &Manner) {
        let answer = match manner {
            Manner::Quick | Manner::Refusing | Manner::Flapping(..) => 200.into(),
            Manner::Later(time) => Answer::Later(*time, Box::new(200.into())),
            Manner::Silent => Answer::Never,
            Manner::Dripping => Answer::Drip,
            Manner::Failing => 503.into(),
            Manner::ByWorkers(workers) => Answer::ByWorkers(workers.clone()),
        };
        self.receiver.answer(&path(name), answer);
    }

    /// Lets the group's endpoints flap for ever, where they do.
    pub(super) async fn flap(&self, name: &str, manner: &Manner) {
        let Manner::Flapping(every, bad) = manner else { return std::future::pending().await };
        loop {
            tokio::time::sleep(*every).await;
            self.receiver.answer(&path(name), bad.clone());
            tokio::time::sleep(*every).await;
            self.receiver.answer(&path(name), 200);
        }
    }

    /// How many requests the group was sent.
    #[must_use]
    pub fn requests(&self, name: &str) -> usize {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(&path(name)).copied().unwrap_or(0)
    }

    /// An address of loopback that nobody else has.
    fn host(&self) -> Ipv4Addr {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        // 127.1.1.1 and on; no byte of them is 0 or 255.
        let byte = |place: u32| 1 + (number / 250_u32.pow(place)) % 250;
        Ipv4Addr::from(u32::from_be_bytes([127, 0, 0, 0]) | byte(2) << 16 | byte(1) << 8 | byte(0))
    }
}

fn path(name: &str) -> String {
    format!("/crowd/{name}")
}
