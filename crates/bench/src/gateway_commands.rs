//! `bench gateway` and `bench chaos-gateway`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::event::SampleEvent;
use bench::gateway::chaos::{self, Installation, Plan};
use bench::gateway::nchan::Nchan;
use bench::gateway::speed::{Publisher, Server, Size};
use bench::processes::Service;
use bench::publish::{AmqpPublisher, HttpPublisher};
use bench::report::Report;
use bench::servers::{RabbitMq, free_ports, target_folder};
use bench::token::access_token;
use tokio::task::spawn_blocking;

const SECRET: &str = "a secret for measurements, of at least 32 bytes";

/// How long a service may take to start.
const START: Duration = Duration::from_secs(60);

fn token(user: &str) -> String {
    access_token(SECRET, user, &["user"])
}

/// The product's processes that a measurement starts.
struct Studio {
    binary: PathBuf,
    folder: PathBuf,
    broker: String,
    address: SocketAddr,
}

impl Studio {
    fn new(binary: &Path, name: &str, broker: String) -> anyhow::Result<Self> {
        anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
        let folder = target_folder().join("bench").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let [port] = free_ports()?;
        Ok(Self {
            binary: binary.to_owned(),
            folder,
            broker,
            address: ([127, 0, 0, 1], port).into(),
        })
    }

    /// Starts `gateway`, or `all` with everything in one process. A gateway asks a service with a
    /// store who was signed out before it lets anybody in; that one ends then.
    async fn start(&self, command: &str) -> anyhow::Result<Service> {
        let informant = if command == "gateway" { Some(self.launch("dispatcher")?) } else { None };
        let mut service = self.launch(command)?;
        service.wait_for_http(self.address, "/readyz", START).await?;
        drop(informant);
        Ok(service)
    }

    fn launch(&self, command: &str) -> anyhow::Result<Service> {
        let address = self.address.to_string();
        let database = format!("sqlite://{}", self.folder.join("store.db").display());
        let environment = [
            ("STUDIO__AUTH__JWT_SECRET", SECRET),
            ("STUDIO__SECRETS__KEYS", "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            ("STUDIO__DATABASE__URL", &database),
            ("STUDIO__BROKER__URL", &self.broker),
            ("STUDIO__API__BIND", &address),
            ("STUDIO__GATEWAY__BIND", &address),
            ("STUDIO__DISPATCHER__BIND", "127.0.0.1:0"),
            ("STUDIO__OPERATE__BIND", "127.0.0.1:0"),
            ("STUDIO__API__RATE_LIMIT", "0"),
            // One machine plays thousands of users: all of the fan-out's subscribers are one user
            // here, who has 32 connections by default.
            ("STUDIO__GATEWAY__CONNECTIONS_PER_USER", "20000"),
        ];
        let log = self.folder.join(format!("{command}.log"));
        Ok(Service::start(&self.binary, &[command], environment, &log)?)
    }
}

/// Measures the gateway on RabbitMQ, all in one process, and nchan where it is installed.
pub(crate) async fn speed(binary: &Path, runs: usize, size: Size) -> anyhow::Result<()> {
    let broker = spawn_blocking(|| RabbitMq::start("bench-gateway")).await??;
    let mut report = Report::default();
    for run in 1..=runs.max(1) {
        println!("run {run} of {runs}");
        let url = broker.vhost(&format!("gateway{run}"))?;
        let studio = Studio::new(binary, "gateway", url.clone())?;
        let gateway = studio.start("gateway").await?;
        let server = Server {
            name: "gateway",
            address: studio.address,
            pids: vec![gateway.pid()],
            broker: Some(url.clone()),
            publisher: Publisher::Amqp(AmqpPublisher::connect(&url).await?),
            token,
        };
        server.measure(size, &mut report).await?;
        drop((server, gateway));

        let folder = target_folder().join("bench").join("gateway-all");
        let queues = format!("embedded://{}", folder.join("queues.db").display());
        let studio = Studio::new(binary, "gateway-all", queues)?;
        let all = studio.start("all").await?;
        let service = access_token(SECRET, "usr_service", &["service"]);
        let server = Server {
            name: "one process",
            address: studio.address,
            pids: vec![all.pid()],
            broker: None,
            publisher: Publisher::Http(HttpPublisher::new(
                &format!("http://{}", studio.address),
                &service,
            )?),
            token,
        };
        server.measure(size, &mut report).await?;
        drop((server, all));

        if Nchan::is_installed() {
            let nchan = Nchan::start(1).await?;
            let server = Server {
                name: "nchan",
                address: nchan.address,
                pids: nchan.pids(),
                broker: None,
                publisher: Publisher::Nchan(nchan),
                token: |_| String::new(),
            };
            server.measure(size, &mut report).await?;
        } else {
            println!("nchan is not installed (libnginx-mod-nchan): nothing to compare with");
        }
    }
    println!("\n{}", report.table());
    Ok(())
}

/// A gateway on RabbitMQ that can be killed.
struct Killable {
    studio: Studio,
    publisher: AmqpPublisher,
    gateway: Mutex<Option<Service>>,
}

impl Installation for Killable {
    fn gateway(&self) -> SocketAddr {
        self.studio.address
    }

    fn token(&self, user: &str) -> String {
        token(user)
    }

    async fn publish(&self, events: Vec<SampleEvent>) -> anyhow::Result<()> {
        let events = &events;
        self.publisher.publish_all(events.len(), 64, |number| events[number].clone()).await?;
        Ok(())
    }

    async fn kill(&self) -> anyhow::Result<()> {
        let gateway = self.gateway.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(mut gateway) = gateway {
            gateway.kill9()?;
        }
        let began = Instant::now();
        let gateway = self.studio.start("gateway").await?;
        println!("killed; another is ready after {} ms", began.elapsed().as_millis());
        *self.gateway.lock().unwrap_or_else(|e| e.into_inner()) = Some(gateway);
        Ok(())
    }
}

/// Kills the gateway under load; every client must have seen exactly its events.
pub(crate) async fn chaos(binary: &Path, plan: Plan) -> anyhow::Result<()> {
    let broker = spawn_blocking(|| RabbitMq::start("chaos-gateway")).await??;
    let url = broker.vhost("chaos")?;
    let studio = Studio::new(binary, "chaos-gateway", url.clone())?;
    let gateway = studio.start("gateway").await?;
    let publisher = AmqpPublisher::connect(&url).await?;
    let installation = Killable { studio, publisher, gateway: Mutex::new(Some(gateway)) };
    let began = Instant::now();
    let outcome = chaos::run(plan, Arc::new(installation)).await?;
    println!(
        "{} clients of {} users saw {} events, each once, in order and whole; they resumed {} \
         times and were sent {} of them again; {:.1} s",
        plan.users * plan.clients,
        plan.users,
        outcome.seen,
        outcome.resumed,
        outcome.replayed,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
