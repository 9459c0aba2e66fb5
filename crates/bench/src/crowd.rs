//! Nobody is held up: how long healthy endpoints wait for their events while others are silent,
//! drip, refuse or fail, and while one user publishes a hundred times more than the others.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::arrivals::{Arrivals, Seen};
use crate::event::{SampleEvent, unix_micros};
use crate::product::{Product, Running};
use crate::publish::HttpPublisher;
use crate::receiver::{Answer, Keep, Receiver, ReceiverOptions};
use crate::servers::target_folder;

/// Webhooks of one user: four bad ones, of each kind one, and six good ones.
const OF_A_USER: usize = 10;

/// What the first of a user's endpoints do.
const BAD: [&str; 4] = ["silent", "dripping", "refusing", "failing"];

/// The user who publishes more than the others.
const HEAVY: &str = "usr_heavy";

/// How long the last events of a part may take to arrive.
const ALL_WITHIN: Duration = Duration::from_secs(60);

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

/// From publish to arrival at healthy endpoints, in each part.
#[derive(Clone, Debug)]
pub struct Waits {
    /// Only healthy endpoints are sent to.
    pub alone: Seen,
    /// Four of ten endpoints are bad.
    pub among_bad: Seen,
    /// Ten users have one event a second each.
    pub few: Seen,
    /// The same, and one user publishes a hundred times more than each of them.
    pub beside_heavy: Seen,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("by themselves", &self.alone),
            ("four of ten silent, dripping, refusing, failing", &self.among_bad),
            ("ten users with an event a second each", &self.few),
            ("the same beside one who publishes 100 times more", &self.beside_heavy),
        ];
        write!(f, "from publish to arrival at healthy endpoints, in ms")?;
        for (name, seen) in parts {
            let (p50, p99) = (seen.percentile_ms(0.5), seen.percentile_ms(0.99));
            write!(f, "\n  {name:<49} p50 {p50:5.2}, p99 {p99:5.2} of {}", seen.count)?;
        }
        Ok(())
    }
}

struct Town {
    product: Product,
    _running: Running,
    good: Arrivals,
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
    let alone = town.all(&crowd, false).await?;
    let among_bad = town.all(&crowd, true).await?;
    let few = town.few(&crowd, false).await?;
    let beside_heavy = town.few(&crowd, true).await?;
    Ok(Waits { alone, among_bad, few, beside_heavy })
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
        // What is kept is memory, and new memory is made while events are on their way.
        let counting = ReceiverOptions { keep: Keep::Counts, ..ReceiverOptions::default() };
        let (good, bad) = (Arrivals::start().await?, Receiver::start_with(counting).await?);
        bad.answer("/silent", Answer::Never);
        bad.answer("/dripping", Answer::Drip);
        bad.answer("/failing", 503);
        for user in 0..crowd.users {
            for project in 0..OF_A_USER {
                let url = match BAD.get(project) {
                    Some(&"refusing") => "http://127.8.8.8:8/".to_owned(),
                    Some(kind) => bad.url(&format!("/{kind}")),
                    None => good.url(),
                };
                let user = format!("usr_{user}");
                webhook(&product, &user, &url, &[&project.to_string()]).await?;
            }
        }
        let heavy = Arrivals::start_slow(Duration::from_millis(50)).await?;
        for _ in 0..5 {
            webhook(&product, HEAVY, &heavy.url(), &[]).await?;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let publisher = HttpPublisher::new(&product.api, &product.token("svc", "service"))?;
        let users = crowd.users;
        Ok(Self { product, _running: running, good, _bad: bad, publisher, users })
    }

    /// The waits while events go to all (or to all healthy) webhooks in turn.
    async fn all(&self, crowd: &Crowd, bad_too: bool) -> anyhow::Result<Seen> {
        let kinds = if bad_too { 0..OF_A_USER } else { BAD.len()..OF_A_USER };
        let projects: Vec<String> = kinds.clone().map(|project| project.to_string()).collect();
        let count = usize::try_from(crowd.length.as_secs())? * crowd.rate as usize;
        let good = (0..count).filter(|n| kinds.start + n % projects.len() >= BAD.len()).count();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / crowd.rate);
        for number in 0..count {
            tick.tick().await;
            let user = format!("usr_{}", (number / projects.len()) % self.users);
            self.publish(&user, &projects[number % projects.len()], number).await?;
        }
        self.good.take(good, ALL_WITHIN).await
    }

    /// The waits of ten users with one event a second each; with `heavy`, right before each of
    /// them come ten of a user who publishes a hundred times more than each.
    async fn few(&self, crowd: &Crowd, heavy: bool) -> anyhow::Result<Seen> {
        let (others, rounds) = (self.users.min(10), usize::try_from(crowd.length.as_secs())?);
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut number = 0;
        for round in 0..rounds * 10 {
            tick.tick().await;
            if heavy {
                let batch: Vec<SampleEvent> =
                    (0..10).map(|n| event(HEAVY, "any", &format!("h{round}-{n}"))).collect();
                self.publisher.publish_batch(&batch).await?;
            }
            self.publish(&format!("usr_{}", round % others), "9", number).await?;
            number += 1;
        }
        self.good.take(number, ALL_WITHIN).await
    }

    async fn publish(&self, user: &str, project: &str, number: usize) -> anyhow::Result<()> {
        let id = format!("c{}-{number}", unix_micros());
        Ok(self.publisher.publish(&event(user, project, &id)).await?)
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        self.product.remove_files();
    }
}

fn event(user: &str, project: &str, id: &str) -> SampleEvent {
    let data = format!(r#"{{"project_id":"{project}","t":{}}}"#, unix_micros());
    SampleEvent::new(id, user, project).with_data(data)
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
