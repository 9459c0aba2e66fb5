//! The broker or the database away: the services stay up, say which one it is, use next to
//! nothing, and go on within seconds of its return, with no restart.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bench::servers::{Postgres, PostgresOptions, RabbitMq};
use bench::usage::cpu_seconds;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::endpoint::Endpoint;
use crate::support::events::Published;
use crate::support::studio::{Studio, Webhook};
use crate::support::{wait_at_most, wait_for};

/// Within this, a partner that does not answer is noticed: two heartbeats and something.
const NOTICED: Duration = Duration::from_secs(9);

/// Within this of its return, everything works as before.
const BACK: Duration = Duration::from_secs(5);

/// A user of the database that its limits apply to.
const USER: &str = "limited";

/// A broker and a database to be broken, by one test at a time.
struct Breakable {
    broker: RabbitMq,
    database: Postgres,
}

async fn breakable() -> MutexGuard<'static, Breakable> {
    static SERVERS: OnceLock<Mutex<Breakable>> = OnceLock::new();
    let servers = tokio::task::spawn_blocking(|| {
        SERVERS.get_or_init(|| {
            let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
            let database = Postgres::start("breakable", options).unwrap();
            database.sql("postgres", &format!("CREATE ROLE {USER} LOGIN")).unwrap();
            Mutex::new(Breakable { broker: RabbitMq::start("breakable").unwrap(), database })
        })
    });
    servers.await.unwrap().lock().await
}

impl Breakable {
    async fn studio(&self, settings: &[(&str, &str)]) -> Studio {
        let vhost = format!("away{}", rand::random::<u32>());
        let broker = format!("{}?heartbeat=2", self.broker.vhost(&vhost).unwrap());
        let database = self.database.fresh_database().unwrap();
        let name = database.rsplit('/').next().unwrap();
        let own = format!("ALTER DATABASE {name} OWNER TO {USER}");
        self.database.sql("postgres", &own).unwrap();
        let database = database.replace("postgres@", &format!("{USER}@"));
        Studio::on(database, broker, settings).await
    }
}

/// Waits until `/readyz` of API and dispatcher name what is away, and nothing else.
async fn wait_until_named(studio: &Studio, away: &str, well: &str) {
    for base in [&studio.api, &studio.dispatcher] {
        wait_at_most(NOTICED, &format!("{base} naming {away}"), || async {
            let (status, answer) = studio.readiness(base).await;
            let named = answer[away] != "ready" && answer[well] == "ready";
            (status == 503 && named).then_some(())
        })
        .await;
    }
}

/// Waits until both are ready, which they must be within [`BACK`].
async fn wait_until_back(studio: &Studio) {
    for base in [&studio.api, &studio.dispatcher] {
        wait_at_most(BACK, &format!("{base} being ready again"), || async {
            (studio.readiness(base).await.0 == 200).then_some(())
        })
        .await;
    }
}

/// The share of a core that API and dispatcher use over three seconds.
async fn idle_cpu(studio: &Studio) -> f64 {
    let pids = [studio.pid("api"), studio.pid("dispatcher")];
    let (before, began) = (cpu_seconds(&pids), Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    (cpu_seconds(&pids) - before) / began.elapsed().as_secs_f64()
}

async fn publish_by_api(studio: &Studio, event: &Published) -> u16 {
    let token = studio.token("svc", "service");
    let body = serde_json::from_str(&event.message()).unwrap();
    studio.call("POST", "/v1/events", &token, Some(&body)).await.0
}

async fn within<T>(longest: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(longest, work).await.unwrap_or_else(|_| panic!("{what}: {longest:?}"))
}

/// An endpoint that takes everything, its webhook, and one event that went through.
async fn warmed_up(studio: &Studio) -> (Endpoint, Webhook) {
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish(&Published::in_project("usr_1", "p")).await;
    endpoint.wait_for(1).await;
    (endpoint, webhook)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_named_and_work_goes_on_when_it_answers_again() {
    let servers = breakable().await;
    let studio = servers.studio(&[]).await;
    let (endpoint, _webhook) = warmed_up(&studio).await;
    servers.broker.sigstop().unwrap();
    let event = Published::in_project("usr_1", "p");
    let refused = within(Duration::from_secs(7), "a 503", publish_by_api(&studio, &event)).await;
    wait_until_named(&studio, "broker", "store").await;
    let cpu = idle_cpu(&studio).await;
    servers.broker.sigcont().unwrap();
    assert_eq!(refused, 503);
    assert!(cpu < 0.04, "{:.1} % of a core for two processes", cpu * 100.0);
    wait_until_back(&studio).await;
    assert_eq!(publish_by_api(&studio, &event).await, 202, "the same id again");
    within(BACK, "the delivery", endpoint.wait_for(2)).await;
    wait_for("nothing more", || async { (endpoint.count() == 2).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_nothing_is_lost_and_nothing_is_sent_over_and_over() {
    let mut servers = breakable().await;
    let studio = servers.studio(&[]).await;
    let (endpoint, webhook) = warmed_up(&studio).await;
    servers.database.kill9().unwrap();
    let events = Published::several("usr_1", 200);
    studio.publish_all(&events).await;
    wait_until_named(&studio, "store", "broker").await;
    let cpu = idle_cpu(&studio).await;
    assert!(cpu < 0.04, "{:.1} % of a core for two processes", cpu * 100.0);
    tokio::task::block_in_place(|| servers.database.restart()).unwrap();
    wait_until_back(&studio).await;
    within(BACK, "every delivery", endpoint.wait_for(201)).await;
    wait_at_most(BACK, "a log of every delivery", || async {
        (studio.succeeded(&webhook).await == 201).then_some(())
    })
    .await;
    assert_eq!(endpoint.count(), 201, "each was sent once");
}

/// Retries fall due while the database is frozen, and what was known of their user's webhooks is
/// too old: the crowd waits for one answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_retries_does_not_take_a_connection_to_a_frozen_database_each() {
    let servers = breakable().await;
    let settings = [
        ("STUDIO__DATABASE__MAX_CONNECTIONS", "100"),
        ("STUDIO__DISPATCHER__CACHE_AGE", "100ms"),
        ("STUDIO__DELIVERY__RETRY_DELAYS", "8s"),
    ];
    let studio = servers.studio(&settings).await;
    let endpoint = Endpoint::answering([500]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    studio.publish_all(&Published::several("usr_1", 200)).await;
    wait_for("200 retries planned", || async {
        (studio.logged(&webhook, "retrying").await == 200).then_some(())
    })
    .await;
    endpoint.answer_from_now(200);
    servers.database.sigstop().unwrap();
    wait_at_most(Duration::from_secs(15), "the retries being taken", || async {
        let metrics = studio.metrics(&studio.dispatcher).await;
        let taken = |line: &str| {
            line.starts_with("dispatcher_messages_taken")
                && line.contains("studio.deliver")
                && line.ends_with(" 200")
        };
        metrics.lines().any(taken).then_some(())
    })
    .await;
    servers.database.sigcont().unwrap();
    let made_early = endpoint.count();
    within(BACK, "every retry", endpoint.wait_for(400)).await;
    let of = database_of(&studio);
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{of}'");
    let connections: usize = sql(&servers, "postgres", &count).trim().parse().unwrap();
    assert_eq!(made_early, 200, "no retry was due before the database froze");
    assert!(connections <= 20, "{connections} connections of API and dispatcher");
}

/// Makes a database refuse what it is asked, then take it back: nothing is lost, and users are told
/// to try again.
async fn survives_refusal(
    refuse: impl AsyncFn(&Breakable, &Studio),
    relent: impl AsyncFn(&Breakable, &Studio),
) {
    let servers = breakable().await;
    let studio = servers.studio(&[]).await;
    let (endpoint, webhook) = warmed_up(&studio).await;
    refuse(&servers, &studio).await;
    let events = Published::several("usr_1", 50);
    studio.publish_all(&events).await;
    let token = studio.token("usr_1", "user");
    let change = json!({ "name": "another" });
    let path = format!("/v1/webhooks/{}", webhook.id);
    let refused = studio.call("PUT", &path, &token, Some(&change)).await;
    relent(&servers, &studio).await;
    assert_eq!(refused.0, 503, "{}", refused.1);
    wait_until_back(&studio).await;
    within(BACK, "every delivery", endpoint.wait_for(51)).await;
    wait_at_most(BACK, "a log of every delivery", || async {
        (studio.succeeded(&webhook).await == 51).then_some(())
    })
    .await;
    assert_eq!(endpoint.count(), 51, "each was sent once");
}

fn sql(servers: &Breakable, database: &str, text: &str) -> String {
    tokio::task::block_in_place(|| servers.database.sql(database, text)).unwrap()
}

fn database_of(studio: &Studio) -> String {
    studio.setting("STUDIO__DATABASE__URL").rsplit('/').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_for_a_while_loses_nothing() {
    let read_only = |on: &'static str| {
        async move |servers: &Breakable, studio: &Studio| {
            let name = database_of(studio);
            let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}");
            sql(servers, "postgres", &set);
            disconnect(servers, &name);
        }
    };
    survives_refusal(read_only("on"), read_only("off")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_connections_to_spare_loses_nothing() {
    let allow = |connections: i32| {
        async move |servers: &Breakable, studio: &Studio| {
            let limit = format!("ALTER ROLE {USER} CONNECTION LIMIT {connections}");
            sql(servers, "postgres", &limit);
            if connections == 0 {
                disconnect(servers, &database_of(studio));
            }
        }
    };
    survives_refusal(allow(0), allow(-1)).await;
}

/// Passes everything on to `port` after so many milliseconds; its own port.
async fn slow_way_to(port: u16, delay: Arc<AtomicU64>) -> u16 {
    async fn carry(
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        delay: Arc<AtomicU64>,
    ) {
        let mut piece = vec![0; 65_536];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            tokio::time::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
            if to.write_all(&piece[..read]).await.is_err() {
                return;
            }
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(carry(from_client, to_server, delay.clone()));
            tokio::spawn(carry(from_server, to_client, delay.clone()));
        }
    });
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_delays_the_log_and_doubles_nothing() {
    let servers = breakable().await;
    let port = servers.database.port();
    let delay = Arc::new(AtomicU64::new(0));
    let slow = slow_way_to(port, delay.clone()).await;
    let database = servers.database.fresh_database().unwrap();
    let database = database.replace(&port.to_string(), &slow.to_string());
    let broker = servers.broker.vhost(&format!("slow{}", rand::random::<u32>())).unwrap();
    let studio = Studio::on(database, broker, &[]).await;
    let endpoint = Endpoint::answering([200]).await;
    let webhook = studio.webhook("usr_1", &endpoint.url(), json!({})).await;
    let events = Published::several("usr_1", 1_000);
    delay.store(100, Ordering::Relaxed);
    studio.publish_all(&events).await;
    wait_for("a log of every delivery", || async {
        (studio.succeeded(&webhook).await == events.len()).then_some(())
    })
    .await;
    assert_eq!(endpoint.count(), events.len(), "each was sent once");
}

fn disconnect(servers: &Breakable, database: &str) {
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    sql(servers, "postgres", &end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_memory_counts_as_away_for_publishing_only() {
    let servers = breakable().await;
    let studio = servers.studio(&[]).await;
    let (endpoint, _webhook) = warmed_up(&studio).await;
    let watermark = |level| servers.broker.ctl(&["set_vm_memory_high_watermark", level]).unwrap();
    tokio::task::block_in_place(|| watermark("0"));
    // A connection is blocked once it publishes.
    let event = Published::in_project("usr_1", "p");
    let refused = within(Duration::from_secs(7), "a 503", publish_by_api(&studio, &event)).await;
    let (status, answer) = studio.readiness(&studio.api).await;
    tokio::task::block_in_place(|| watermark("0.6"));
    assert_eq!(refused, 503);
    assert_eq!(status, 503);
    assert!(answer["broker"].as_str().unwrap().contains("memory"), "{answer}");
    wait_until_back(&studio).await;
    assert_eq!(publish_by_api(&studio, &event).await, 202);
    within(BACK, "the delivery", endpoint.wait_for(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_empty_delays_retries_by_the_sweep_and_loses_none() {
    let mut servers = breakable().await;
    let settings =
        [("STUDIO__DELIVERY__RETRY_DELAYS", "8s,9s"), ("STUDIO__DISPATCHER__SWEEP_EVERY", "2s")];
    let studio = servers.studio(&settings).await;
    let (endpoint, webhook) = studio.waiting_retry().await;
    tokio::task::block_in_place(|| {
        servers.broker.wipe_and_restart().unwrap();
        servers.broker.vhost(&studio.vhost()).unwrap();
    });
    within(Duration::from_secs(60), "the retry", endpoint.wait_for(2)).await;
    studio.wait_for_log(&webhook, "success").await;
    // New events go through, too: the queues were declared again.
    studio.publish(&Published::in_project("usr_1", "p")).await;
    within(BACK, "the delivery", endpoint.wait_for(3)).await;
}
