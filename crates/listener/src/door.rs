//! Who may connect: so many connections of one address, counted while they are open.

use std::any::Any;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use access::{Proxies, network_of};
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use dashmap::DashMap;
use socket2::SockRef;
use telemetry::{Counter, KeyValue, UpDownCounter};

/// What is answered, as far as it can be sent at once, to a connection too many.
const REFUSED: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-type: application/json\r\ncontent-length: 146\r\n\r\n\
    {\"success\":false,\"error\":{\"code\":\"TOO_MANY_CONNECTIONS_OF_ADDRESS\",\
    \"message\":\"this address has too many connections; close some, then try again\"}}";

/// How often it is said in the log that connections are refused.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The rules of a listener.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The listener's name in metrics and log lines, such as `api`.
    pub name: &'static str,
    /// How long a connection may take nothing of what is sent to it before it is ended.
    pub stalled_after: Duration,
    /// Connections of one address (of IPv6, one /64) at a time; 0 for no limit.
    pub per_address: usize,
    /// The setting that `per_address` comes from, for the log.
    pub setting: &'static str,
    /// Proxies, which connect for many: their connections are not limited.
    pub proxies: Proxies,
}

/// A listener's door: counts the connections that are open.
pub struct Door {
    rules: Rules,
    label: [KeyValue; 1],
    addresses: DashMap<IpAddr, usize, ahash::RandomState>,
    open: AtomicUsize,
    gauge: UpDownCounter<i64>,
    refused: Counter<u64>,
    began: Instant,
    /// When it was said last that connections are refused, ms after `began`, plus one.
    said_at: AtomicU64,
}

/// One open connection, counted until this is dropped.
struct Guest {
    door: Arc<Door>,
    address: Option<IpAddr>,
}

impl Door {
    /// A door with these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Arc<Self> {
        let meter = telemetry::meter();
        Arc::new(Self {
            label: [KeyValue::new("listener", rules.name)],
            rules,
            addresses: DashMap::default(),
            open: AtomicUsize::new(0),
            gauge: meter
                .i64_up_down_counter("http_connections")
                .with_description("Open connections, by listener")
                .build(),
            refused: meter
                .u64_counter("http_connections_refused")
                .with_description("Connections refused because their address had enough")
                .build(),
            began: Instant::now(),
            said_at: AtomicU64::new(0),
        })
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn stalled_after(&self) -> Duration {
        self.rules.stalled_after
    }

    /// Counts a connection that was just accepted, or ends it where its address has enough.
    pub(crate) fn let_in(self: &Arc<Self>, connection: &dyn Any, data: &mut Extensions) {
        let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
        let peer = stream.peer_addr().ok().map(|peer| peer.ip());
        match self.enter(peer) {
            Some(guest) => drop(data.insert(guest)),
            None => {
                turn_away(stream);
                self.refused.add(1, &self.label);
                self.say(peer);
            }
        }
    }

    fn enter(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Guest> {
        let most = self.rules.per_address;
        let limited = peer.filter(|peer| most > 0 && !self.rules.proxies.contains(*peer));
        let address = limited.map(network_of);
        if let Some(address) = address {
            let mut known = self.addresses.entry(address).or_default();
            if *known >= most {
                return None;
            }
            *known += 1;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.gauge.add(1, &self.label);
        Some(Guest { door: self.clone(), address })
    }

    /// Says that connections are refused, once a minute.
    fn say(&self, peer: Option<IpAddr>) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let pause = u64::try_from(SAY_EVERY.as_millis()).unwrap_or(u64::MAX);
        let last = self.said_at.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= pause;
        let taken = || {
            self.said_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if due && taken() {
            let (most, setting) = (self.rules.per_address, self.rules.setting);
            let address = peer.map_or_else(|| "an address".to_owned(), |peer| peer.to_string());
            tracing::warn!(
                listener = self.rules.name,
                "{address} has {most} connections, as many as {setting} allows: more are refused; \
                 if it is a proxy, name it in api.trusted_proxies"
            );
        }
    }
}

/// Ends a connection before anything of it is read. What its peer has sent already is thrown
/// away, so that no request of it is answered by anybody.
fn turn_away(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // Whether the peer gets to read why, or sees only the end, changes nothing for us.
    socket.send(REFUSED).ok();
    socket.shutdown(Shutdown::Both).ok();
    let mut unread = [MaybeUninit::uninit(); 4_096];
    while socket.recv(&mut unread).is_ok_and(|count| count > 0) {}
}

impl Drop for Guest {
    fn drop(&mut self) {
        let door = &self.door;
        door.open.fetch_sub(1, Ordering::Relaxed);
        door.gauge.add(-1, &door.label);
        let Some(address) = self.address else { return };
        if let Some(mut known) = door.addresses.get_mut(&address) {
            *known -= 1;
        }
        door.addresses.remove_if(&address, |_, known| *known == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use actix_web::{App, HttpResponse, HttpServer, web};

    fn door(per_address: usize, proxies: Proxies) -> Arc<Door> {
        Door::new(Rules {
            name: "test",
            stalled_after: Duration::from_secs(30),
            per_address,
            setting: "test.connections_per_address",
            proxies,
        })
    }

    fn enter(door: &Arc<Door>, address: &str) -> Option<Guest> {
        door.enter(Some(address.parse().unwrap()))
    }

    #[test]
    fn an_address_has_as_many_connections_as_it_may_and_others_are_not_touched() {
        let door = door(2, Proxies::default());
        let first = enter(&door, "192.0.2.1");
        let second = enter(&door, "::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(enter(&door, "192.0.2.1").is_none());
        assert!(enter(&door, "192.0.2.2").is_some());
        drop(first);
        assert_eq!((door.open(), door.addresses.len()), (1, 1));
        assert!(enter(&door, "192.0.2.1").is_some());
        let _one = enter(&door, "2001:db8::1").unwrap();
        let _two = enter(&door, "2001:db8::2").unwrap();
        assert!(enter(&door, "2001:db8::3").is_none(), "a /64 is one address");
        drop(second);
        assert_eq!(door.addresses.len(), 1);
    }

    #[test]
    fn proxies_are_not_limited_and_neither_is_anybody_without_a_limit() {
        for door in [
            door(1, serde_json::from_str(r#""192.0.2.0/24""#).unwrap()),
            door(0, Proxies::default()),
        ] {
            let guests: Vec<_> = (0..50).map(|_| enter(&door, "192.0.2.1").unwrap()).collect();
            assert_eq!((door.open(), door.addresses.len()), (50, 0));
            drop(guests);
            assert_eq!(door.open(), 0);
        }
    }

    #[test]
    fn the_refusal_says_its_own_length() {
        let text = std::str::from_utf8(REFUSED).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }

    #[actix_web::test]
    async fn a_connection_too_many_is_told_so_and_none_of_its_requests_is_answered() {
        static ANSWERED: AtomicUsize = AtomicUsize::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let door = door(1, Proxies::default());
        let server = HttpServer::new(|| {
            App::new().default_service(web::to(|| async {
                ANSWERED.fetch_add(1, Ordering::SeqCst);
                HttpResponse::Ok().body("here")
            }))
        });
        let server = crate::serve_at(server.workers(1), listener, &door).unwrap().run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        let client = tokio::task::spawn_blocking(move || {
            let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            let ask = |stream: &mut std::net::TcpStream| {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(request).ok();
                let mut some = [0; 512];
                let count = stream.read(&mut some).unwrap_or(0);
                String::from_utf8_lossy(&some[..count]).into_owned()
            };
            let connect = || std::net::TcpStream::connect(address).unwrap();
            let mut first = connect();
            assert!(ask(&mut first).contains("200"));
            for _ in 0..20 {
                let answer = ask(&mut connect());
                assert!(answer.is_empty() || answer.contains(" 429 "), "{answer}");
            }
            drop(first);
        });
        client.await.unwrap();
        assert_eq!(ANSWERED.load(Ordering::SeqCst), 1);
        handle.stop(false).await;
    }
}
