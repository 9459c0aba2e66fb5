//! `studio-webhooks`: the three services and the tools around them, in one binary.

mod commands;
mod config;
mod operator;
mod sign_outs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sentimatrix Studio Webhooks: brings Studio's events, signed, to the endpoints and browsers
/// that asked for them.
///
/// Settings come from studio-webhooks.toml in the working directory (or --config) and from
/// environment variables STUDIO__SECTION__KEY, which win: STUDIO__API__BIND=0.0.0.0:8080.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// A settings file instead of ./studio-webhooks.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the HTTP API that manages webhooks and takes events.
    Api,
    /// Take events from the broker, deliver them, retry what fails.
    Dispatcher,
    /// Serve events to browsers over WebSockets.
    Gateway,
    /// All three services in one process and on one port: for development and small
    /// installations.
    All,
    /// Bring the database up to date.
    Migrate,
    Publish(commands::publish::Publish),
    Listen(commands::listen::Listen),
    Secrets(commands::secrets::Secrets),
    Token(commands::token::Token),
    Verify(commands::verify::Verify),
    Queues(commands::queues::Queues),
    Rejected(commands::rejected::Rejected),
    Doctor(commands::doctor::Doctor),
    Erase(commands::erase::Erase),
    Audit(commands::audit::Audit),
    Demo(commands::demo::Demo),
    /// Print the API's description (OpenAPI 3.1), the same as GET /openapi.json.
    Openapi,
}

fn main() -> ExitCode {
    telemetry::tell_panics_without_values();
    let cli = Cli::parse();
    // The same provider everywhere; a second install would be refused.
    drop(rustls::crypto::ring::default_provider().install_default());
    let settings = || config::Settings::load(cli.config.as_deref());
    let result = match cli.command {
        Command::Api => settings().and_then(commands::api::run),
        Command::Dispatcher => settings().and_then(commands::dispatcher::run),
        Command::Gateway => settings().and_then(commands::gateway::run),
        Command::All => settings().and_then(commands::all::run),
        Command::Migrate => settings().and_then(commands::migrate::run),
        Command::Publish(publish) => settings().and_then(|settings| publish.run(settings)),
        Command::Listen(listen) => settings().and_then(|settings| listen.run(settings)),
        Command::Secrets(secrets) => settings().and_then(|settings| secrets.run(settings)),
        Command::Token(token) => settings().and_then(|settings| token.run(&settings)),
        Command::Verify(verify) => verify.run(),
        Command::Queues(queues) => settings().and_then(|settings| queues.run(settings)),
        Command::Rejected(rejected) => settings().and_then(|settings| rejected.run(settings)),
        Command::Doctor(doctor) => doctor.run(settings()),
        Command::Erase(erase) => settings().and_then(|settings| erase.run(settings)),
        Command::Audit(audit) => settings().and_then(|settings| audit.run(settings)),
        Command::Demo(demo) => demo.run(cli.config.as_deref()),
        Command::Openapi => commands::openapi::run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}: error: {error:#}", Cli::command().get_name());
            ExitCode::from(2)
        }
    }
}
