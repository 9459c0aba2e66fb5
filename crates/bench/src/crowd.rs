//! Nobody is held up: how long healthy endpoints wait for their events while others are silent,
//! drip, refuse or fail, and while one user publishes a hundred times more than the others.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::event::{SampleEvent, sent_micros};
use crate::product::{Product, Running};
use crate::publish::HttpPublisher;
use crate::quantile::quantile;
use crate::receiver::{Answer, Receiver};
use crate::servers::target_folder;

/// Webhooks of one user: four bad ones, of each kind one, and six good ones.
const OF_A_USER: usize = 10;

/// What the first of a user's endpoints do.
const BAD: [&str; 4] = ["silent", "dripping", "refusing", "failing"];

/// The user who publishes more than the others.
const HEAVY: &str = "usr_heavy";

/// The size of a crowd.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The product's binary.
    pub binary: PathBuf,
    /// How many users there are, each with ten webhooks.
    pub users: usize,
    /// Events a second, each for one webhook.
    pub rate: u32,
    /// How long each part is measured.
    pub length: Duration,
    /// The longest attempt (`STUDIO__DELIVERY__TIMEOUT`).
    pub timeout: Duration,
    /// Other settings, each `KEY=VALUE`.
    pub settings: Vec<String>,
}

/// The p99 from publish to arrival at healthy endpoints, in each part.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Only healthy endpoints are sent to.
    pub alone: Duration,
    /// Four of ten endpoints are bad.
    pub among_bad: Duration,
    /// One user publishes a hundred times more than each other.
    pub beside_heavy: Duration,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alone, among_bad, beside_heavy } = self;
        writeln!(f, "p99 from publish to arrival at healthy endpoints")?;
        writeln!(f, "  by themselves:                            {alone:.1?}")?;
        writeln!(f, "  four of ten silent, dripping, refusing, failing: {among_bad:.1?}")?;
        write!(f, "  beside a user who publishes 100 times more: {beside_heavy:.1?}")
    }
}

struct Town {
    product: Product,
    _running: Running,
    good: Receiver,
    _bad: Receiver,
    publisher: HttpPublisher,
    users: usize,
}

/// Measures the embedded product.
///
/// # Errors
/// When it cannot be set up, or events are lost.
pub async fn run(crowd: Crowd) -> anyhow::Result<Waits> {
    let town = Town::build(&crowd).await?;
    let alone = town.p99(&crowd, false).await?;
    let among_bad = town.p99(&crowd, true).await?;
    let beside_heavy = town.p99_beside_heavy(&crowd).await?;
    Ok(Waits { alone, among_bad, beside_heavy })
}

impl Town {
    async fn build(crowd: &Crowd) -> anyhow::Result<Self> {
        let folder = target_folder().join(format!("bench/crowd-{}", std::process::id()));
        let file = |name: &str| folder.join(name).display().to_string();
        let (database, broker) =
            (format!("sqlite://{}", file("store.db")), format!("embedded://{}", file("queues.db")));
        let mut product = Product::new(crowd.binary.clone(), folder, &database, &broker)?;
        product.set(&[
            "STUDIO__DISPATCHER__PER_WEBHOOK=32".to_owned(),
            "STUDIO__DISPATCHER__PER_USER=192".to_owned(),
            // All of these endpoints live on one host; in the world they would not.
            "STUDIO__DISPATCHER__PER_HOST=100000".to_owned(),
            format!("STUDIO__DELIVERY__TIMEOUT={}ms", crowd.timeout.as_millis()),
        ]);
        product.set(&crowd.settings);
        let running = product.start("all")?;
        product.wait_ready().await?;
        let (good, bad) = (Receiver::start().await?, Receiver::start().await?);
        bad.answer("/silent", Answer::Never);
        bad.answer("/dripping", Answer::Drip);
        bad.answer("/failing", 503);
        for user in 0..crowd.users {
            for project in 0..OF_A_USER {
                let url = match BAD.get(project) {
                    Some(&"refusing") => "http://127.8.8.8:8/".to_owned(),
                    Some(kind) => bad.url(&format!("/{kind}")),
                    None => good.url("/"),
                };
                let user = format!("usr_{user}");
                webhook(&product, &user, &url, &[&project.to_string()]).await?;
            }
        }
        good.answer("/heavy", Answer::Later(Duration::from_millis(50), Box::new(200.into())));
        for _ in 0..5 {
            webhook(&product, HEAVY, &good.url("/heavy"), &[]).await?;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let publisher = HttpPublisher::new(&product.api, &product.token("svc", "service"))?;
        let users = crowd.users;
        Ok(Self { product, _running: running, good, _bad: bad, publisher, users })
    }

    /// The p99 at healthy endpoints while events go to all (or to all healthy) webhooks in turn.
    async fn p99(&self, crowd: &Crowd, bad_too: bool) -> anyhow::Result<Duration> {
        let kinds = if bad_too { 0..OF_A_USER } else { BAD.len()..OF_A_USER };
        let projects: Vec<String> = kinds.clone().map(|project| project.to_string()).collect();
        let count = usize::try_from(crowd.length.as_secs())? * crowd.rate as usize;
        let good = (0..count).filter(|n| kinds.start + n % projects.len() >= BAD.len()).count();
        self.good.clear();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / crowd.rate);
        for number in 0..count {
            tick.tick().await;
            let user = format!("usr_{}", (number / projects.len()) % self.users);
            self.publish(&user, &projects[number % projects.len()], number).await?;
        }
        self.good.wait_for(good, Duration::from_secs(60)).await?;
        Ok(self.p99_of("/"))
    }

    /// The p99 of the others while one user publishes a hundred times more than each of them.
    async fn p99_beside_heavy(&self, crowd: &Crowd) -> anyhow::Result<Duration> {
        let (others, rounds) = (self.users.min(10), usize::try_from(crowd.length.as_secs())?);
        self.good.clear();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut number = 0;
        for round in 0..rounds * 10 {
            tick.tick().await;
            let batch: Vec<SampleEvent> =
                (0..10).map(|n| event(HEAVY, "any", &format!("h{round}-{n}"))).collect();
            self.publisher.publish_batch(&batch).await?;
            // One event a second for each of ten.
            self.publish(&format!("usr_{}", round % others), "9", number).await?;
            number += 1;
        }
        self.good.wait_for(number, Duration::from_secs(60)).await?;
        self.good.wait_for_path("/", number, Duration::from_secs(60)).await?;
        Ok(self.p99_of("/"))
    }

    async fn publish(&self, user: &str, project: &str, number: usize) -> anyhow::Result<()> {
        let id = format!("c{}-{number}", crate::event::unix_micros());
        Ok(self.publisher.publish(&event(user, project, &id)).await?)
    }

    fn p99_of(&self, path: &str) -> Duration {
        let waited = |request: &crate::receiver::Recorded| {
            let sent = sent_micros(request.body.as_deref()?)?;
            Some(Duration::from_micros(request.unix_us.saturating_sub(sent)))
        };
        let mut waits: Vec<Duration> =
            self.good.requests_to(path).iter().filter_map(waited).collect();
        waits.sort_unstable();
        quantile(&waits, 0.99).unwrap_or_default()
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        self.product.remove_files();
    }
}

fn event(user: &str, project: &str, id: &str) -> SampleEvent {
    SampleEvent::new(id, user, project)
}

async fn webhook(
    product: &Product,
    user: &str,
    url: &str,
    projects: &[&str],
) -> anyhow::Result<()> {
    let body = json!({ "name": "crowd", "url": url, "events": ["*"], "project_ids": projects });
    product.post(user, "/v1/webhooks", &body).await.map(drop)
}
