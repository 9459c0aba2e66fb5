//! `make bench`: deliveries per second, latency, CPU and memory, each beside the limit measured
//! in the same run.

mod gateway_commands;
mod measure;

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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("studio-webhooks");
    match Cli::parse().command {
        Command::Run { runs, events, binary, settings, only } => {
            measure::run(runs, events, binary.unwrap_or(beside), settings, &only).await
        }
        Command::Gateway { runs, few, many, burst, binary } => {
            let size = bench::gateway::speed::Size { few, many, burst, seconds: 10 };
            gateway_commands::speed(&binary.unwrap_or(beside), runs, size).await
        }
        Command::ChaosGateway { users, events, kills, binary } => {
            let plan =
                bench::gateway::chaos::Plan { users, projects: 10, clients: 10, events, kills };
            gateway_commands::chaos(&binary.unwrap_or(beside), plan).await
        }
        Command::LimitLoop { amqp, target } => {
            bench::limit::consume_sign_post_acknowledge(&amqp, &target).await
        }
        Command::LimitMemory { target, count } => {
            bench::limit::sign_and_post_from_memory(&target, count).await
        }
    }
}
