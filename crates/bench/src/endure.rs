//! `bench chaos`, `bench crowd` and `bench waiting`

use std::path::PathBuf;
use std::time::Duration;

use bench::chaos::{self, Backend, Plan};
use bench::crowd::{self, Scenario};
use bench::waiting;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(crate) struct Chaos {
    /// What decides the faults; drawn and printed when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// How long things are broken, in seconds.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// The longest that a server is frozen, in seconds.
    #[arg(long, default_value_t = 30)]
    freeze: u64,
    /// Events a second.
    #[arg(long, default_value_t = 60)]
    rate: u32,
    /// How long everything may take to come to rest, in seconds. RabbitMQ looks after dead letters
    /// that it could not hand over every three minutes.
    #[arg(long, default_value_t = 240)]
    rest: u64,
    /// On what the product runs.
    #[arg(long, value_enum, default_value_t = On::Both)]
    on: On,
    /// The product's binary, beside this one by default.
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    Embedded,
    Servers,
    Both,
}

/// Endures both backends at the same time.
pub(crate) async fn run(chaos: Chaos) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("studio-webhooks");
    let binary = chaos.binary.unwrap_or(beside);
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    let seed = chaos.seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("seed {seed} (again with --seed {seed})");
    let plan = |backend| Plan {
        binary: binary.clone(),
        backend,
        seed,
        length: Duration::from_secs(chaos.seconds),
        longest_freeze: Duration::from_secs(chaos.freeze),
        rate: chaos.rate,
        rest_within: Duration::from_secs(chaos.rest),
    };
    let wanted = |backend, on| async move {
        if chaos.on == On::Both || chaos.on == on {
            Some(chaos::run(plan(backend)).await)
        } else {
            None
        }
    };
    let both = tokio::join!(
        wanted(Backend::Servers, On::Servers),
        wanted(Backend::Embedded, On::Embedded)
    );
    let mut broken = 0;
    for outcome in [both.0, both.1].into_iter().flatten() {
        let outcome = outcome?;
        println!("\n{outcome}");
        broken += usize::from(!outcome.is_clean());
    }
    anyhow::ensure!(broken == 0, "{broken} of the runs broke a promise");
    println!("\nevery promise was kept");
    Ok(())
}

#[derive(Args)]
pub(crate) struct Crowd {
    /// What is measured, by name; when left out everything but `million` and `ordered`, which take
    /// hours.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// On what the product runs.
    #[arg(long, value_enum, default_value_t = On::Embedded)]
    backend: On,
    /// Dispatchers, on servers.
    #[arg(long, default_value_t = 1)]
    dispatchers: usize,
    /// How long each part is measured, in seconds, beside the first step of the schedule; 600 for
    /// the full form.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How long the last events of a part may take to arrive, in seconds.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Retry after 5 s instead of the default schedule's 60 s.
    #[arg(long)]
    quick_retries: bool,
    /// Events of a burst or a backlog.
    #[arg(long)]
    events: Option<usize>,
    /// How many a second the endpoint of `million` takes.
    #[arg(long, default_value_t = 100)]
    taken: usize,
    /// How often a dispatcher is killed while `million` or `ordered` is drained.
    #[arg(long, default_value_t = 0)]
    kills: usize,
    /// A setting to try, such as STUDIO__DISPATCHER__PREFETCH=100; figures are of the defaults.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The product's binary, beside this one by default.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Measures the crowds, one after the other, and prints what healthy endpoints waited.
pub(crate) async fn crowd(crowd: Crowd) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("studio-webhooks");
    let binary = crowd.binary.unwrap_or(beside);
    anyhow::ensure!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    let chosen = if crowd.only.is_empty() { Scenario::of_a_minute() } else { crowd.only };
    let mut failed = 0;
    for (on, backend) in [(On::Embedded, Backend::Embedded), (On::Servers, Backend::Servers)] {
        if crowd.backend != On::Both && crowd.backend != on {
            continue;
        }
        let length = Duration::from_secs(crowd.seconds);
        let plan = crowd::Plan {
            dispatchers: crowd.dispatchers,
            patience: Duration::from_secs(crowd.patience),
            quick_retries: crowd.quick_retries,
            events: crowd.events,
            taken: crowd.taken.max(1),
            kills: crowd.kills,
            settings: crowd.settings.clone(),
            ..crowd::Plan::new(binary.clone(), backend, length)
        };
        for scenario in &chosen {
            println!("{scenario:?}, {backend:?}:");
            match crowd::run(*scenario, &plan).await {
                Ok(outcome) => println!("{outcome}"),
                Err(error) => {
                    println!("  {error:#}\n");
                    failed += 1;
                }
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of the scenarios could not be measured");
    Ok(())
}

#[derive(Args)]
pub(crate) struct Waiting {
    /// How many deliveries wait.
    #[arg(long, default_value_t = 10_000)]
    deliveries: usize,
    /// How long each waits, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// On what the product runs.
    #[arg(long, value_enum, default_value_t = On::Both)]
    on: On,
    /// The product's binary, beside this one by default.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Lets deliveries wait and prints how late they were and what it cost.
pub(crate) async fn waiting(waiting: Waiting) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("studio-webhooks");
    let binary = waiting.binary.unwrap_or(beside);
    for (on, backend) in [(On::Embedded, Backend::Embedded), (On::Servers, Backend::Servers)] {
        if waiting.on == On::Both || waiting.on == on {
            let plan = waiting::Plan {
                binary: binary.clone(),
                backend,
                deliveries: waiting.deliveries.max(1),
                delay: Duration::from_secs(waiting.seconds),
            };
            println!("{backend:?}: {}", waiting::run(plan).await?);
        }
    }
    Ok(())
}
