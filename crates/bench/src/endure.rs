//! `bench chaos`, `bench crowd` and `bench waiting`

use std::path::PathBuf;
use std::time::Duration;

use bench::chaos::{self, Backend, Plan};
use bench::{crowd, waiting};
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
    /// Users, each with ten webhooks, of which four are bad.
    #[arg(long, default_value_t = 100)]
    users: usize,
    /// Events a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How long each part is measured, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The longest attempt, in seconds.
    #[arg(long, default_value_t = 30)]
    timeout: u64,
    /// The product's binary, beside this one by default.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Measures the crowd and prints what healthy endpoints waited.
pub(crate) async fn crowd(crowd: Crowd) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("studio-webhooks");
    let waits = crowd::run(crowd::Crowd {
        binary: crowd.binary.unwrap_or(beside),
        users: crowd.users.max(1),
        rate: crowd.rate.max(1),
        length: Duration::from_secs(crowd.seconds),
        timeout: Duration::from_secs(crowd.timeout),
        settings: Vec::new(),
    });
    println!("{}", waits.await?);
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
