//! One scenario after the other, each on an installation of its own.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::endpoints::Endpoints;
use super::healthy::Span;
use super::scenario::{Cast, Scenario};
use super::site::Site;
use super::waits::Compared;
use super::{burst, compare, million, ordered};
use crate::chaos::Backend;

/// The first step of the default schedule.
const FIRST_DELAY: Duration = Duration::from_secs(60);

/// The schedule where `quick_retries` asks for a shorter one, and its first step.
const QUICK_DELAYS: &str = "STUDIO__DELIVERY__RETRY_DELAYS=5s,10s,15s,20s";
const QUICK_DELAY: Duration = Duration::from_secs(5);

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The product's binary.
    pub binary: PathBuf,
    /// On what it runs.
    pub backend: Backend,
    /// Dispatchers, where they are processes of their own.
    pub dispatchers: usize,
    /// How long each part is measured, beside the first step of the schedule.
    pub length: Duration,
    /// How long the last events of a part may take.
    pub patience: Duration,
    /// Whether the schedule is shortened.
    pub quick_retries: bool,
    /// Events of bursts and backlogs; each has its own number without.
    pub events: Option<usize>,
    /// How many a second the endpoint of the million takes.
    pub taken: usize,
    /// How often a dispatcher is killed meanwhile (the million, ordered).
    pub kills: usize,
    /// Settings beside the defaults, each `KEY=VALUE`, to try something.
    pub settings: Vec<String>,
}

/// What came of a scenario.
pub struct Outcome {
    /// Healthy users' waits, where they were measured.
    pub compared: Option<Compared>,
    /// The rest, in words.
    pub notes: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(compared) = &self.compared {
            writeln!(f, "{compared}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

impl Plan {
    /// One dispatcher at the defaults.
    #[must_use]
    pub fn new(binary: PathBuf, backend: Backend, length: Duration) -> Self {
        Self {
            binary,
            backend,
            dispatchers: 1,
            length,
            patience: Duration::from_secs(120),
            quick_retries: false,
            events: None,
            taken: 100,
            kills: 0,
            settings: Vec::new(),
        }
    }

    pub(super) fn span(&self) -> Span {
        let delay = if self.quick_retries { QUICK_DELAY } else { FIRST_DELAY };
        Span { length: self.length, delay, patience: self.patience, head_start: Duration::ZERO }
    }

    /// The product, as users have it.
    pub(super) async fn site(&self, name: &str) -> anyhow::Result<Site> {
        let mut settings = self.settings.clone();
        settings.extend(self.quick_retries.then(|| QUICK_DELAYS.to_owned()));
        Site::start(name, &self.binary, self.backend, self.dispatchers, &settings).await
    }
}

/// Measures one scenario.
///
/// # Errors
/// When the product cannot be set up.
pub async fn run(scenario: Scenario, plan: &Plan) -> anyhow::Result<Outcome> {
    match scenario {
        Scenario::BurstQuick => burst::quick(plan).await,
        Scenario::BurstWorkers => burst::workers(plan).await,
        Scenario::Million => million::run(plan).await,
        Scenario::Ordered => ordered::run(plan).await,
        _ => match scenario.cast() {
            Some(cast) => crowd(cast, plan).await,
            None => anyhow::bail!("{scenario:?} is no crowd"),
        },
    }
}

async fn crowd(cast: Cast, plan: &Plan) -> anyhow::Result<Outcome> {
    let site = plan.site("town").await?;
    let (town, endpoints) = (site.town().await?, Endpoints::start().await?);
    let watch = Watch::begin(&site).await?;
    let compared = compare(&town, &endpoints, cast.healthy, &cast.crowd, plan.span()).await?;
    Ok(Outcome { compared: Some(compared), notes: watch.end(&site).await? })
}

/// What the product has used when something begins.
pub(super) struct Watch {
    writes: Option<super::site::Writes>,
    cpu: f64,
}

impl Watch {
    pub(super) async fn begin(site: &Site) -> anyhow::Result<Self> {
        Ok(Self { writes: site.writes().await?, cpu: site.cpu_seconds() })
    }

    /// What it has used since, in words.
    pub(super) async fn end(self, site: &Site) -> anyhow::Result<Vec<String>> {
        let cpu = site.cpu_seconds() - self.cpu;
        let attempts = site.metric("delivery_attempts_total").await;
        let deferred = site.metric("deliveries_deferred_total").await;
        let mut notes = vec![format!(
            "{attempts:.0} attempts, {deferred:.0} times deferred; {cpu:.1} CPU s, at most {:.0} MiB",
            site.peak_mib()
        )];
        if let (Some(before), Some(after)) = (self.writes, site.writes().await?) {
            let since = after.since(before);
            let (rows, writes, each) = (since.rows, since.writes, since.each());
            notes.push(format!("{rows} rows of deliveries, {writes} writes, {each:.2} for each"));
        }
        Ok(notes)
    }
}
