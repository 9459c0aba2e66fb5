//! Many events for one endpoint at once: a quick one beside the bare loop, and one of few workers.

use std::time::{Duration, Instant};

use futures::future::join;

use super::endpoints::{Endpoints, Manner};
use super::group::{Group, Load};
use super::healthy::Healthy;
use super::run::{Outcome, Plan, Watch};
use super::scenario::OWN_LIMIT;
use super::site::Site;
use super::{ONCE, compare};
use crate::arrivals::{Arrivals, Seen};
use crate::limit;
use crate::load::{AmqpPublisher, HttpPublisher};
use crate::product::{Running, token};
use crate::receiver::Workers;

/// Events of the burst to a quick endpoint.
const MANY: usize = 100_000;

/// Events of one request to the API.
const BATCH: usize = 100;

/// How long a burst may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Later than this, an event was sent round.
const LATE: u64 = 5_000_000;

/// Who publishes bursts.
enum Publisher {
    Amqp(Box<AmqpPublisher>),
    Http(HttpPublisher),
}

impl Publisher {
    async fn of(site: &Site) -> anyhow::Result<Self> {
        Ok(match site.broker_url() {
            Some(url) => Self::Amqp(Box::new(AmqpPublisher::connect(url).await?)),
            None => {
                let (client, base) = (site.product.client.clone(), site.product.api.clone());
                Self::Http(HttpPublisher { client, base, token: token("service") })
            }
        })
    }

    async fn flood(&self, count: usize) -> anyhow::Result<()> {
        match self {
            Self::Amqp(publisher) => publisher.flood(count).await,
            Self::Http(publisher) => publisher.flood(count, BATCH).await,
        }
    }

    /// From the first publish to the last arrival.
    async fn burst(&self, count: usize, arrivals: &Arrivals) -> anyhow::Result<(Duration, Seen)> {
        let began = Instant::now();
        let (flooded, seen) = join(self.flood(count), arrivals.take(count, PATIENCE)).await;
        flooded?;
        let seen = seen?;
        Ok((seen.last - began, seen))
    }
}

/// A burst to one quick endpoint, and the same to the bare loop: the one that consumes, signs,
/// posts and acknowledges, or in one process the one that does so from memory.
pub(super) async fn quick(plan: &Plan) -> anyhow::Result<Outcome> {
    let count = plan.events.unwrap_or(MANY);
    let site = plan.site("burst").await?;
    let arrivals = Arrivals::start().await?;
    let bare = bare(&site, &arrivals, count).await?;
    site.product.webhook(&arrivals.url()).await?;
    let publisher = Publisher::of(&site).await?;
    publisher.burst(500, &arrivals).await?;
    let watch = Watch::begin(&site).await?;
    let (took, seen) = publisher.burst(count, &arrivals).await?;
    let late = seen.latencies.iter().filter(|latency| **latency > LATE).count();
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    let mut notes = vec![
        format!(
            "{count} events to a quick endpoint: the last arrived after {:.2} s, {:.2} times the bare loop's {:.2} s ({:.0} and {:.0} a second)",
            took.as_secs_f64(),
            took.as_secs_f64() / bare.as_secs_f64(),
            bare.as_secs_f64(),
            rate(took),
            rate(bare),
        ),
        format!(
            "from publish to arrival p50 {:.0} ms, p99 {:.0} ms; {late} of them later than 5 s",
            seen.percentile_ms(0.5),
            seen.percentile_ms(0.99)
        ),
    ];
    notes.extend(watch.end(&site).await?);
    Ok(Outcome { compared: None, notes })
}

/// What the bare loop takes for as many.
async fn bare(site: &Site, arrivals: &Arrivals, count: usize) -> anyhow::Result<Duration> {
    let target = arrivals.url();
    let took = match site.another_vhost("bare")? {
        Some(url) => {
            limit::declare(&url).await?;
            let arguments = ["limit-loop", "--amqp", &url, "--target", &target];
            let _looping = Running::of_this_program(&arguments)?;
            let publisher = Publisher::Amqp(Box::new(AmqpPublisher::connect(&url).await?));
            publisher.burst(500, arrivals).await?;
            publisher.burst(count, arrivals).await?.0
        }
        None => {
            let many = count.to_string();
            let arguments = ["limit-memory", "--target", &target, "--count", &many];
            let _posting = Running::of_this_program(&arguments)?;
            let seen = arrivals.take(count, PATIENCE).await?;
            seen.last - seen.first
        }
    };
    arrivals.forget();
    Ok(took)
}

/// A burst to an endpoint of eight workers of 50 ms, beside healthy users.
pub(super) async fn workers(plan: &Plan) -> anyhow::Result<Outcome> {
    let (each, people) = (Duration::from_millis(50), 8);
    let most = people as f64 / each.as_secs_f64();
    let workers = Workers::new(people, each, OWN_LIMIT);
    let count = plan.events.unwrap_or((most * plan.span().whole().as_secs_f64()) as usize);
    let site = plan.site("workers").await?;
    let (town, endpoints) = (site.town().await?, Endpoints::start().await?);
    let manner = Manner::ByWorkers(workers.clone());
    let group = Group::new("burst-workers", manner, Load::Bursts(count, ONCE));
    let watch = Watch::begin(&site).await?;
    let working = async {
        while workers.served() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let began = Instant::now();
        workers.wait_for(count, plan.span().whole() * 4 + PATIENCE).await.map(|end| end - began)
    };
    let crowd = [group];
    let comparing = compare(&town, &endpoints, Healthy::default(), &crowd, plan.span());
    let (compared, took) = join(comparing, working).await;
    let mut notes = match took {
        Ok(took) => {
            let rate = count as f64 / took.as_secs_f64();
            vec![format!("{count} served at {rate:.1} a second, {:.2} of {most:.0}", rate / most)]
        }
        Err(served) => vec![format!("only {served} of {count} were served")],
    };
    let (asked, refused) = (endpoints.requests("burst-workers"), workers.refused());
    notes.push(format!("{asked} attempts, {refused} of them failed in the endpoint's queue"));
    notes.extend(watch.end(&site).await?);
    Ok(Outcome { compared: Some(compared?), notes })
}
