//! A history that comes slowly, or of which nothing more comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bench::servers::RabbitMq;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::room::{Room, event, next_id, until_caught_up, wait_for};

/// A way to the broker on which its answers can be held up.
struct Way {
    port: u16,
    slow: Arc<AtomicBool>,
}

/// Bytes that a slow way lets through at a time, and how long it rests after them.
const PIECE: usize = 16_384;
const REST: Duration = Duration::from_millis(300);

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let slow = Arc::new(AtomicBool::new(false));
        let is_slow = slow.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let broker = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut asks, answered) = client.into_split();
                let (answers, mut asked) = broker.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
                tokio::spawn(pass_on(answers, answered, is_slow.clone()));
            }
        });
        Self { port: own_port, slow }
    }
}

async fn pass_on(mut answers: OwnedReadHalf, mut client: OwnedWriteHalf, slow: Arc<AtomicBool>) {
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = answers.read(&mut piece).await {
        if client.write_all(&piece[..length]).await.is_err() {
            return;
        }
        if slow.load(Ordering::Relaxed) {
            tokio::time::sleep(REST).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_comes_slowly_is_not_taken_for_one_that_was_read() {
    let mut room = Room::rabbitmq().await;
    let before = OffsetDateTime::now_utc() - Duration::from_secs(10);
    // More than are sent ahead.
    let ids: Vec<String> = (0..700).map(|n| format!("evt_{n:03}")).collect();
    let broker = room.open().await;
    let messages = ids.iter().map(|id| event(id)).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));

    let port: u16 =
        room.config.url.expose().rsplit([':', '/']).find_map(|part| part.parse().ok()).unwrap();
    let way = Way::to(port).await;
    let moved = room.config.url.expose().replace(&format!(":{port}"), &format!(":{}", way.port));
    room.config.url = moved.into();
    let far = room.open().await;
    way.slow.store(true, Ordering::Relaxed);
    let mut reader = far.history(Some(before));
    assert_eq!(until_caught_up(&mut reader).await, ids);
    let mut late = far.history(Some(OffsetDateTime::now_utc() + Duration::from_secs(60)));
    assert_eq!(until_caught_up(&mut late).await, [""; 0], "nothing is there of that time");

    way.slow.store(false, Ordering::Relaxed);
    let (target, message) = event("evt_live");
    broker.publish(target, message).await.unwrap();
    assert_eq!(next_id(&mut reader).await, "evt_live");
    far.close().await;
    broker.close().await;
}

/// RabbitMQ closes the channel of one who keeps entries for half an hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_acknowledged_when_no_other_follows() {
    let room = Room::rabbitmq().await;
    let before = OffsetDateTime::now_utc() - Duration::from_secs(10);
    let broker = room.open().await;
    let messages = (0..10).map(|n| event(&format!("evt_{n}"))).collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut all = broker.history(Some(before));
    let mut none = broker.history(Some(OffsetDateTime::now_utc() + Duration::from_secs(60)));
    assert_eq!(until_caught_up(&mut all).await.len(), 10);
    assert_eq!(until_caught_up(&mut none).await.len(), 0);
    let (target, message) = event("evt_live");
    broker.publish(target, message).await.unwrap();
    assert_eq!(next_id(&mut all).await, "evt_live");
    assert_eq!(next_id(&mut none).await, "evt_live");

    let vhost = room.config.url.expose().rsplit('/').next().unwrap().to_owned();
    let kept = || async {
        let list = ["list_channels", "--no-table-headers", "vhost", "messages_unacknowledged"];
        let list = tokio::task::block_in_place(|| RabbitMq::shared().ctl(&list)).unwrap();
        let own = list.lines().filter_map(|line| line.strip_prefix(&format!("{vhost}\t")));
        own.map(|kept| kept.trim().parse::<usize>().unwrap()).sum::<usize>()
    };
    assert!(kept().await > 0, "otherwise this shows nothing");
    wait_for("acknowledgements", || async { kept().await == 0 }).await;
    broker.close().await;
}
