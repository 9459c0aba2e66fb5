//! `make bench`: deliveries per second, latency, CPU and memory, each beside the limit measured
//! in the same run. `make chaos`: everything killed and frozen at random, and the ledger at the end.

mod endure;
mod gateway_commands;
mod measure;
mod measure_api;
mod measure_spread;
mod retention;
mod soak;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures Studio Webhooks beside the bare limit of the machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure everything and print the table of docs/benchmarks.md.
    Run {
        /// How often everything is measured; the median counts.
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Events of a saturated measurement.
        #[arg(long, default_value_t = 30_000)]
        events: usize,
        /// The product's binary, beside this one by default.
        #[arg(long)]
        binary: Option<PathBuf>,
        /// A setting of the product to measure with, such as STUDIO__DISPATCHER__PREFETCH=1000.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// What is measured; everything when left out. The ratios need the limit too.
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<measure::Part>,
    },
    /// Measure many webhooks for one event, one among many of others, and several dispatchers.
    Spread {
        /// How often everything is measured; the median counts.
        #[arg(long, default_value_t = 1)]
        runs: usize,
        /// Deliveries of each measurement.
        #[arg(long, default_value_t = 30_000)]
        deliveries: usize,
        /// The product's binary, beside this one by default.
        #[arg(long)]
        binary: Option<PathBuf>,
        /// A setting of the product to measure with.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Kill and freeze everything at random under load; fails when a promise is broken.
    Chaos(endure::Chaos),
    /// Measure what healthy users wait for beside crowds that are slow, silent, few or many.
    Crowd(endure::Crowd),
    /// Measure how late retries come when many wait, and what the waiting costs.
    Waiting(endure::Waiting),
    /// Steady load for a long time: the memory of each process, a line a minute.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 60)]
        minutes: u32,
        /// Events a second.
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// One process with SQLite instead of services with RabbitMQ and PostgreSQL.
        #[arg(long)]
        embedded: bool,
        /// The product's binary, beside this one by default.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Remove old deliveries of a large PostgreSQL while events are delivered.
    Retention {
        /// Deliveries in the database, one of twenty of them old.
        #[arg(long, default_value_t = 5_000_000)]
        rows: u64,
        /// The product's binary, beside this one by default.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Measure reading through the API, beside a bare handler and over large tables.
    Api {
        /// How often the first part is measured; the median counts.
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Log rows of the second part; 0 leaves it out.
        #[arg(long, default_value_t = 1_000_000)]
        rows: u32,
        /// The product's binary, beside this one by default.
        #[arg(long)]
        binary: Option<PathBuf>,
        /// A setting of the product to measure with.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// The API's limit: the same bytes from memory.
    #[command(hide = true)]
    BareHandler {
        /// Where it listens.
        #[arg(long)]
        bind: String,
        /// The file with the bytes.
        #[arg(long)]
        body: PathBuf,
    },
    /// Measure the gateway beside nginx's nchan.
    Gateway {
        /// How often everything is measured; the median counts.
        #[arg(long, default_value_t = 1)]
        runs: usize,
        /// Subscribers of the small fan-out.
        #[arg(long, default_value_t = 1_000)]
        few: usize,
        /// Subscribers of the large one; also the idle connections.
        #[arg(long, default_value_t = 10_000)]
        many: usize,
        /// Events of a burst to the few.
        #[arg(long, default_value_t = 500)]
        burst: usize,
        /// Only 1,000 events a second, each to one of the many.
        #[arg(long)]
        only_singles: bool,
        /// The product's binary, beside this one by default.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// Kill the gateway under load and see that no client missed or doubled anything.
    ChaosGateway {
        /// Users, with ten projects and ten clients each.
        #[arg(long, default_value_t = 100)]
        users: usize,
        /// Events.
        #[arg(long, default_value_t = 20_000)]
        events: usize,
        /// How often the gateway is killed.
        #[arg(long, default_value_t = 3)]
        kills: usize,
        /// The product's binary, beside this one by default.
        #[arg(long)]
        binary: Option<PathBuf>,
    },
    /// The limit's own process: consume, sign, POST, acknowledge.
    LimitLoop {
        /// The broker.
        #[arg(long)]
        amqp: String,
        /// Where to POST.
        #[arg(long)]
        target: String,
        /// Requests for each message.
        #[arg(long, default_value_t = 1)]
        copies: u16,
    },
    /// The limit without a broker: sign and POST from memory.
    LimitMemory {
        /// Where to POST.
        #[arg(long)]
        target: String,
        /// How many.
        #[arg(long)]
        count: usize,
    },
}

/// The product's binary, where it was built together with this one.
fn beside() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("studio-webhooks"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    tokio::select! {
        done = carry_out(command) => done,
        // Whatever was started ends with what started it.
        asked = tokio::signal::ctrl_c() => Err(asked.err().map_or_else(
            || anyhow::anyhow!("interrupted"),
            anyhow::Error::from,
        )),
    }
}

async fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { runs, events, binary, settings, only } => {
            measure::run(runs, events, binary.map_or_else(beside, Ok)?, settings, &only).await
        }
        Command::Spread { runs, deliveries, binary, settings } => {
            let binary = binary.map_or_else(beside, Ok)?;
            measure_spread::run(runs, deliveries, binary, settings).await
        }
        Command::Soak { minutes, rate, embedded, binary } => {
            soak::run(minutes, rate, embedded, binary.map_or_else(beside, Ok)?).await
        }
        Command::Retention { rows, binary } => {
            retention::run(rows, binary.map_or_else(beside, Ok)?).await
        }
        Command::Api { runs, rows, binary, settings } => {
            measure_api::run(runs, rows, binary.map_or_else(beside, Ok)?, settings).await
        }
        Command::BareHandler { bind, body } => {
            bench::bare::serve(&bind, std::fs::read(body)?).await
        }
        Command::Chaos(chaos) => endure::run(chaos).await,
        Command::Crowd(crowd) => endure::crowd(crowd).await,
        Command::Waiting(waiting) => endure::waiting(waiting).await,
        Command::Gateway { runs, few, many, burst, only_singles, binary } => {
            let size = bench::gateway::speed::Size { few, many, burst, seconds: 10, only_singles };
            gateway_commands::speed(&binary.map_or_else(beside, Ok)?, runs, size).await
        }
        Command::ChaosGateway { users, events, kills, binary } => {
            let plan =
                bench::gateway::chaos::Plan { users, projects: 10, clients: 10, events, kills };
            gateway_commands::chaos(&binary.map_or_else(beside, Ok)?, plan).await
        }
        Command::LimitLoop { amqp, target, copies } => {
            bench::limit::consume_sign_post_acknowledge(&amqp, &target, copies).await
        }
        Command::LimitMemory { target, count } => {
            bench::limit::sign_and_post_from_memory(&target, count).await
        }
    }
}
