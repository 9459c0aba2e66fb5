//! `make chaos`: a steady load of events to good, failing and slow receivers, while everything
//! that can be killed or frozen is, at random; at the end the [`ledger`](crate::ledger) must hold.
//!
//! The seed decides which faults come, in which order and with which pauses. When they meet the
//! load is the machine's affair: the same seed is the same hardship, not the same run.

mod endpoints;
mod fault;
pub(crate) mod installation;
mod logbook;
mod traffic;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::ledger::{self, Evidence, Ledger, Report};

pub use fault::Fault;
use installation::Installation;

/// The waits between attempts.
const SCHEDULE: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
];

/// How long queues may take to be seen empty once everything is at rest.
const EMPTY_WITHIN: Duration = Duration::from_secs(20);

/// On what the product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// One process with everything in files of its own.
    Embedded,
    /// Two dispatchers and an API on RabbitMQ and PostgreSQL.
    Servers,
}

/// What is to be endured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The product's binary.
    pub binary: PathBuf,
    /// On what it runs.
    pub backend: Backend,
    /// Decides the faults.
    pub seed: u64,
    /// How long events are published and things are broken.
    pub length: Duration,
    /// The longest that a server is frozen.
    pub longest_freeze: Duration,
    /// Events a second.
    pub rate: u32,
    /// How long everything may take to come to rest after the last fault.
    pub rest_within: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    plan: Plan,
    faults: Vec<Fault>,
    /// Events that were accepted.
    pub confirmed: usize,
    refused: usize,
    rested_after: Option<Duration>,
    /// The ledger's verdict.
    pub report: Report,
}

impl Outcome {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.is_clean() && self.rested_after.is_some()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, faults, confirmed, refused, report, .. } = self;
        writeln!(f, "{:?}, seed {}, {:?}:", plan.backend, plan.seed, plan.length)?;
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        writeln!(f, "faults: {}", faults.join(", "))?;
        writeln!(f, "{confirmed} events confirmed; {refused} publishes failed and were repeated")?;
        match self.rested_after {
            Some(after) => writeln!(f, "everything at rest {after:.1?} after the last fault")?,
            None => writeln!(f, "NOT at rest within {:?}", plan.rest_within)?,
        }
        write!(f, "{report}")
    }
}

/// Endures `plan`.
///
/// # Errors
/// When the installation cannot be set up or asked; a broken promise is no error but stands in
/// the outcome.
pub async fn run(plan: Plan) -> anyhow::Result<Outcome> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let name = format!("chaos/{}", plan.seed);
    let settings = installation::settings();
    let mut installation =
        Installation::start(&name, &plan.binary, plan.backend, &settings).await?;
    let endpoints = endpoints::Endpoints::start(&installation).await?;
    let ledger = Ledger::new();
    let mut faults = Vec::new();
    let traffic = traffic::Traffic::new(&installation, &ledger, plan.rate);
    let breaking = async {
        let until = Instant::now() + plan.length;
        let mut coming = fault::Coming::new(plan.backend, plan.longest_freeze);
        while Instant::now() < until {
            tokio::time::sleep(coming.pause(&mut random)).await;
            let fault = coming.next(&mut random);
            println!("{:?}: {fault}", plan.backend);
            installation.suffer(fault).await?;
            faults.push(fault);
        }
        traffic.stop();
        anyhow::Ok(())
    };
    let (broken, refused) = tokio::join!(breaking, traffic.run());
    broken?;
    let began = Instant::now();
    installation.wait_ready().await?;
    let published = ledger.events();
    let mut book = logbook::Logbook::new(&installation, &endpoints, &published);
    let rested = book.wait_for_rest(plan.rest_within).await?;
    let logs = book.read().await?;
    let queues = installation.queues(EMPTY_WITHIN).await?;
    let allowed = faults.iter().map(|fault| installation.under_way(*fault)).sum();
    let report = ledger::check(&Evidence {
        published: &published,
        subscribers: &endpoints.subscribers,
        requests: &endpoints.requests(),
        logs: Some(&logs),
        schedule: &SCHEDULE,
        duplicates_allowed: allowed,
        recoveries: &[],
        queues: &queues,
    });
    if !report.is_clean() || !rested {
        installation.keep_logs();
    }
    let confirmed = ledger.confirmed_count();
    let rested_after = rested.then(|| began.elapsed());
    Ok(Outcome { plan, faults, confirmed, refused, rested_after, report })
}
