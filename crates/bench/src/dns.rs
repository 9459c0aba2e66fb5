//! A DNS server of our own, which answers as it is told: away, slow, wrong, or another address
//! with every question.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What is answered to the questions for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAnswer {
    /// These addresses, each to its kind of question, with this TTL in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Another name, and its addresses.
    Alias(String, Vec<IpAddr>),
    /// "The server failed."
    ServFail,
    /// "There is no such name."
    Missing,
    /// None at all.
    Silence,
}

impl DnsAnswer {
    /// One address, with a TTL of a minute.
    #[must_use]
    pub fn address(address: impl Into<IpAddr>) -> Self {
        Self::Addresses(vec![address.into()], 60)
    }
}

#[derive(Default)]
struct Names {
    /// What comes next for each name; the last answer is repeated.
    answers: HashMap<String, Vec<DnsAnswer>>,
    /// Questions for IPv4 addresses so far.
    asked: HashMap<String, usize>,
}

/// Listens on 127.0.0.1 (UDP) until it is dropped; names that it was not told of are missing.
pub struct FakeDns {
    address: SocketAddr,
    names: Arc<Mutex<Names>>,
    listening: JoinHandle<()>,
}

impl FakeDns {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let names = Arc::<Mutex<Names>>::default();
        let listening = tokio::spawn(listen(socket, names.clone()));
        Ok(Self { address, names, listening })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the questions for `name` are answered by these in turn, the last for ever.
    /// Questions for IPv6 addresses get the answer that the last one for IPv4 got.
    pub fn answer(&self, name: &str, answers: impl IntoIterator<Item = DnsAnswer>) {
        let mut answers: Vec<DnsAnswer> = answers.into_iter().collect();
        answers.reverse();
        lock(&self.names).answers.insert(name.to_owned(), answers);
    }

    /// How often IPv4 addresses of `name` were asked for.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.names).asked.get(name).copied().unwrap_or(0)
    }
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn lock(names: &Mutex<Names>) -> std::sync::MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(socket: UdpSocket, names: Arc<Mutex<Names>>) {
    let mut buffer = [0; 1_500];
    while let Ok((length, asker)) = socket.recv_from(&mut buffer).await {
        let Some(question) = Question::read(&buffer[..length]) else { continue };
        let answer = next(&mut lock(&names), &question);
        if let Some(reply) = question.reply(&answer) {
            // The asker may have gone.
            socket.send_to(&reply, asker).await.ok();
        }
    }
}

fn next(names: &mut Names, question: &Question) -> DnsAnswer {
    let Some(answers) = names.answers.get_mut(&question.name) else { return DnsAnswer::Missing };
    let answer = answers.last().cloned().unwrap_or(DnsAnswer::Missing);
    if question.kind == A {
        *names.asked.entry(question.name.clone()).or_default() += 1;
        if answers.len() > 1 {
            answers.pop();
        }
    }
    answer
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// A question and its bytes (RFC 1035, section 4).
struct Question {
    name: String,
    kind: u16,
    id: [u8; 2],
    bytes: Vec<u8>,
}

impl Question {
    fn read(packet: &[u8]) -> Option<Self> {
        let (mut at, mut labels) = (12, Vec::new());
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
        let bytes = packet.get(12..at + 4)?.to_vec();
        Some(Self { name: labels.join("."), kind, id: [packet[0], packet[1]], bytes })
    }

    fn reply(&self, answer: &DnsAnswer) -> Option<Vec<u8>> {
        let mut records = Vec::new();
        let code = match answer {
            DnsAnswer::Silence => return None,
            DnsAnswer::ServFail => 2,
            DnsAnswer::Missing => 3,
            DnsAnswer::Addresses(addresses, ttl) => {
                self.addresses(&[0xc0, 12], addresses, *ttl, &mut records);
                0
            }
            DnsAnswer::Alias(name, addresses) => {
                let name = encoded(name);
                records.push(record(&[0xc0, 12], CNAME, 60, &name));
                self.addresses(&name, addresses, 60, &mut records);
                0
            }
        };
        let count = u16::try_from(records.len()).ok()?.to_be_bytes();
        let mut reply = self.id.to_vec();
        // A response, recursion desired and available.
        reply.extend([0x81, 0x80 | code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
        reply.extend(&self.bytes);
        reply.extend(records.concat());
        Some(reply)
    }

    fn addresses(&self, name: &[u8], all: &[IpAddr], ttl: u32, records: &mut Vec<Vec<u8>>) {
        for address in all {
            match address {
                IpAddr::V4(v4) if self.kind == A => {
                    records.push(record(name, A, ttl, &v4.octets()));
                }
                IpAddr::V6(v6) if self.kind == AAAA => {
                    records.push(record(name, AAAA, ttl, &v6.octets()));
                }
                _ => {}
            }
        }
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn record(name: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    bytes.extend(data);
    bytes
}
