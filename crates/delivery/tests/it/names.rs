//! Names and what they resolve to: the guard looks at what is connected to, every time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bench::dns::{DnsAnswer, FakeDns};
use bench::receiver::Receiver;
use delivery::{DeliveryConfig, Sender};

use crate::attempt::{attempt, config, failure};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Of 192.0.2.0/24, which is nobody's: allowed here, it stands for the public internet.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

const UNUSABLE: &str = "The address cannot be used";

fn sender(dns: &FakeDns, allow: &str) -> Sender {
    Sender::new(&DeliveryConfig {
        dns_servers: vec![dns.address().to_string()],
        allow_networks: vec![allow.into()],
        connect_timeout: Duration::from_millis(300),
        ..config()
    })
    .unwrap()
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_to_live() {
    let (dns, receiver) = (FakeDns::start().await.unwrap(), Receiver::start().await.unwrap());
    dns.answer("kept.test", [DnsAnswer::Addresses(vec![LOOPBACK], 60)]);
    dns.answer("brief.test", [DnsAnswer::Addresses(vec![LOOPBACK], 1)]);
    let port = receiver.address().port();
    for _ in 0..3 {
        // A sender has connections of its own, and this one may keep none.
        let config = DeliveryConfig {
            dns_servers: vec![dns.address().to_string()],
            idle_per_host: 0,
            ..config()
        };
        let sender = Sender::new(&config).unwrap();
        for _ in 0..5 {
            for name in ["kept.test", "brief.test"] {
                assert!(attempt(&sender, &format!("http://{name}:{port}/")).await.succeeded());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    assert_eq!(dns.asked("kept.test"), 3, "once by each sender");
    assert!((4..=9).contains(&dns.asked("brief.test")), "{}", dns.asked("brief.test"));
    assert_eq!(receiver.count(), 30);
}

#[tokio::test]
async fn a_name_that_rebinds_between_its_lookups_never_reaches_inside() {
    let (dns, spy) = (FakeDns::start().await.unwrap(), Receiver::start().await.unwrap());
    let rebinding =
        (0..200).map(|n| DnsAnswer::Addresses(vec![if n % 2 == 0 { PUBLIC } else { LOOPBACK }], 0));
    dns.answer("rebind.test", rebinding);
    let url = format!("http://rebind.test:{}/", spy.address().port());
    let mut blocked = 0;
    // Each sender asks for itself: the name is looked up a hundred times.
    for _ in 0..100 {
        let sender = Sender::new(&DeliveryConfig {
            dns_servers: vec![dns.address().to_string()],
            allow_networks: vec!["192.0.2.0/24".into()],
            connect_timeout: Duration::from_millis(20),
            ..config()
        })
        .unwrap();
        let report = attempt(&sender, &url).await;
        blocked += usize::from(failure(&report).0 == "blocked_address");
    }
    assert_eq!(spy.count(), 0);
    assert!(blocked >= 40, "{blocked} of 100");
}

#[tokio::test]
async fn one_special_address_among_others_condemns_a_name() {
    let dns = FakeDns::start().await.unwrap();
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
    let metadata: IpAddr = "169.254.169.254".parse().unwrap();
    let nat64: IpAddr = "64:ff9b::7f00:1".parse().unwrap();
    let any: IpAddr = "0.0.0.0".parse().unwrap();
    let both = |address| DnsAnswer::Addresses(vec![PUBLIC, address], 60);
    for (name, answer) in [
        ("loopback.test", both(LOOPBACK)),
        ("mapped.test", both(mapped)),
        ("metadata.test", both(metadata)),
        ("nat64.test", both(nat64)),
        ("any.test", both(any)),
        ("only.test", DnsAnswer::address(LOOPBACK)),
        ("alias.test", DnsAnswer::Alias("inside.test".into(), vec![LOOPBACK])),
    ] {
        dns.answer(name, [answer]);
        let report = attempt(&sender(&dns, "192.0.2.0/24"), &format!("http://{name}/")).await;
        assert_eq!(failure(&report), ("blocked_address", UNUSABLE), "{name}");
        assert_eq!(report.address, None);
    }
}

/// Webhooks outlive the rules that they were made under.
#[tokio::test]
async fn a_port_that_is_refused_now_fails_the_attempts_of_older_webhooks() {
    let sender = Sender::new(&config()).unwrap();
    for port in [445, 2181, 5900, 6443, 8500] {
        let report = attempt(&sender, &format!("http://127.0.0.1:{port}/hook")).await;
        assert_eq!(failure(&report), ("blocked_address", UNUSABLE), "{port}");
    }
}

#[tokio::test]
async fn a_dns_that_is_away_fails_in_time_with_its_own_cause() {
    let dns = FakeDns::start().await.unwrap();
    dns.answer("silent.test", [DnsAnswer::Silence]);
    dns.answer("broken.test", [DnsAnswer::ServFail]);
    dns.answer("empty.test", [DnsAnswer::Addresses(Vec::new(), 60)]);
    let sender = sender(&dns, "127.0.0.0/8");
    for name in ["silent.test", "broken.test", "empty.test", "missing.test"] {
        let began = Instant::now();
        let report = attempt(&sender, &format!("http://{name}/")).await;
        assert_eq!(failure(&report), ("dns", UNUSABLE), "{name}");
        assert!(began.elapsed() < Duration::from_millis(700), "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn the_wait_for_one_name_holds_up_no_other() {
    let (dns, receiver) = (FakeDns::start().await.unwrap(), Receiver::start().await.unwrap());
    dns.answer("good.test", [DnsAnswer::address(LOOPBACK)]);
    let sender = sender(&dns, "127.0.0.0/8");
    let port = receiver.address().port();
    for n in 0..1_000 {
        dns.answer(&format!("silent{n}.test"), [DnsAnswer::Silence]);
    }
    let slow = futures::future::join_all((0..1_000).map(|n| {
        let (sender, url) = (sender.clone(), format!("http://silent{n}.test:{port}/"));
        async move { attempt(&sender, &url).await }
    }));
    let slow = tokio::spawn(slow);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let report = attempt(&sender, &format!("http://good.test:{port}/")).await;
    assert!(report.succeeded(), "{report:?}");
    assert!(slow.await.unwrap().iter().all(|report| failure(report).0 == "dns"));
}

#[tokio::test]
async fn a_name_with_many_addresses_is_connected_to() {
    let (dns, receiver) = (FakeDns::start().await.unwrap(), Receiver::start().await.unwrap());
    dns.answer("many.test", [DnsAnswer::Addresses(vec![LOOPBACK; 50], 60)]);
    let url = format!("http://many.test:{}/", receiver.address().port());
    assert!(attempt(&sender(&dns, "127.0.0.0/8"), &url).await.succeeded());
}

#[test]
fn a_dns_server_that_is_none_names_its_setting() {
    let config = DeliveryConfig { dns_servers: vec!["dns.example".into()], ..config() };
    let error = Sender::new(&config).unwrap_err();
    assert_eq!(error.key, "delivery.dns_servers");
}
